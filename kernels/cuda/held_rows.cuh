#pragma once

#include <algorithm>

#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"

// Rows that a warp keeps in its registers between two passes over them: lane l holds chunks l, l + 32, ... of a row.
namespace engram {

// Chunks of one row on one lane, kHeld at most.
template <class T, int kHeld>
struct HeldRow {
  static constexpr int kPer = kPerChunk<T>;
  Chunk at[kHeld];

  // First element of the lane's i-th chunk.
  static __device__ int64_t column(int i) { return (int64_t{threadIdx.x} + i * kWarpSize) * kPer; }

  __device__ void load(const T* row, int64_t width) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) at[i] = column(i) < width ? load_raw<T, kPer>(row + column(i)) : Chunk{0, 0, 0, 0};
  }
  __device__ Values<T, kPer> values(int i) const { return unpack<T, kPer>(at[i]); }
};

// Calls fn.operator()<kHeld>() with the least kHeld that holds rows of `width` elements; false where none does, or
// where rows are no whole chunks.
template <class T, class Fn, class... Arrays>
bool with_held_rows(int64_t width, Fn&& fn, const Arrays*... arrays) {
  if (!in_chunks(width * static_cast<int64_t>(sizeof(T)), arrays...)) return false;
  const int64_t held = (width / kPerChunk<T> + kWarpSize - 1) / kWarpSize;
  if (held <= 1) return fn.template operator()<1>(), true;
  if (held <= 2) return fn.template operator()<2>(), true;
  if (held <= 3) return fn.template operator()<3>(), true;
  if (held <= 4) return fn.template operator()<4>(), true;
  if (held <= 8) return fn.template operator()<8>(), true;
  return false;
}

// Blocks of kRowsPerBlock warps that share `num_rows` rows and add up what belongs to columns: as many as a large chip
// runs at once with the registers that such kernels take.
template <int kHeld>
inline constexpr int kBlocksPerProcessor = kHeld <= 4 ? 4 : 2;
template <int kHeld>
int64_t blocks_of_sums(int64_t num_rows) {
  constexpr int64_t kProcessors = 132;
  return std::min<int64_t>(blocks_for(num_rows, kRowsPerBlock), kProcessors * kBlocksPerProcessor<kHeld>);
}

// The block's sum of each column into partial[block, :], from the sums that each warp holds of the rows it saw.
// `shared` has room for a row; all threads call it.
template <class T, int kHeld>
__device__ void write_block_sums(const Values<T, kPerChunk<T>> (&sums)[kHeld], int64_t width, Accumulator<T>* shared,
                                 Accumulator<T>* partial) {
  using Row = HeldRow<T, kHeld>;
  __syncthreads();  // whoever used `shared` is done
  for (int warp = 0; warp < kRowsPerBlock; ++warp) {
    if (static_cast<int>(threadIdx.y) == warp) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (Row::column(i) >= width) continue;
        for (int j = 0; j < Row::kPer; ++j) {
          Accumulator<T>& sum = shared[Row::column(i) + j];
          sum = warp == 0 ? sums[i].at[j] : sum + sums[i].at[j];
        }
      }
    }
    __syncthreads();
  }
  const int thread = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);
  for (int64_t c = thread; c < width; c += kWarpSize * kRowsPerBlock)
    partial[int64_t{blockIdx.x} * width + c] = shared[c];
}

}  // namespace engram
