#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sort.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/row_segment_sum_impl.h"

namespace engram {
namespace {

// Values of one row that are added one after the other; see the contract.
constexpr int64_t kRun = 64;
// Values of a thread that are on their way at once.
constexpr int kAhead = 8;

// The values in the order of their rows. A row's values, one after the other there, are a segment; it is cut into runs
// of kRun. Of its runs but the first, the sums lie in `partial`, where run_at / kRun says: no two begin in one block of
// kRun values.
template <class T, int kVector>
struct Segments {
  using Acc = Accumulator<T>;
  using Values = Pack<T, kVector>;
  using Sums = Pack<Acc, kVector>;

  const Values* values;
  Sums* sums;
  Sums* partial;
  const uint32_t* row;
  const uint32_t* position;
  int64_t count;
  int64_t width;  // packs of a row
};

template <class T, class Acc, int kVector>
__device__ void add(Pack<Acc, kVector>& sum, const Pack<T, kVector>& value) {
#pragma unroll
  for (int c = 0; c < kVector; ++c) sum.value[c] += static_cast<Acc>(value.value[c]);
}

// Adds the values in sorted order from `begin` on, as far as they are of the row and of this run.
template <class T, int kVector>
__device__ void add_run(const Segments<T, kVector>& a, int64_t begin, int64_t column,
                        typename Segments<T, kVector>::Sums& sum) {
  const uint32_t row = a.row[begin];
  const int64_t end = begin + kRun < a.count ? begin + kRun : a.count;
  for (int64_t base = begin; base < end && a.row[base] == row; base += kAhead) {
    Pack<T, kVector> ahead[kAhead];
    bool belongs[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      belongs[k] = base + k < end && a.row[base + k] == row;
      if (belongs[k]) ahead[k] = a.values[int64_t{a.position[base + k]} * a.width + column];
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (belongs[k]) add(sum, ahead[k]);
    }
  }
}

// First of the sorted values, up to `at`, whose row is that of `at`.
__device__ inline int64_t segment_begin(const uint32_t* row, int64_t at) {
  int64_t low = 0, high = at;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (row[middle] < row[at])
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// threadIdx.x walks over the columns, threadIdx.y over blocks of kRun values: only the segment that holds the first
// value of a block can have a run, other than its first, that begins there.
template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) run_kernel(Segments<T, kVector> a) {
  const int64_t block = int64_t{blockIdx.x} * blockDim.y + threadIdx.y, at = block * kRun;
  if (at >= a.count) return;
  const int64_t begin = segment_begin(a.row, at);
  const int64_t run_at = begin + (at - begin + kRun - 1) / kRun * kRun;
  const bool is_none = a.row[at] == static_cast<uint32_t>(-1);
  if (is_none || run_at == begin || run_at >= a.count || a.row[run_at] != a.row[at]) return;
  for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x) {
    typename Segments<T, kVector>::Sums sum = {};
    add_run(a, run_at, column, sum);
    a.partial[block * a.width + column] = sum;
  }
}

// The same over the values, of which the first of a segment brings its sum to an end.
template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) segment_kernel(Segments<T, kVector> a) {
  const int64_t begin = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (begin >= a.count) return;
  const uint32_t row = a.row[begin];
  if (row == static_cast<uint32_t>(-1) || (begin > 0 && a.row[begin - 1] == row)) return;
  const auto has_run = [&](int64_t run_at) { return run_at < a.count && a.row[run_at] == row; };
  for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x) {
    auto sum = a.sums[row * a.width + column];
    add_run(a, begin, column, sum);
    for (int64_t base = begin + kRun; has_run(base); base += kAhead * kRun) {
      typename Segments<T, kVector>::Sums ahead[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (has_run(base + k * kRun)) ahead[k] = a.partial[(base / kRun + k) * a.width + column];
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (has_run(base + k * kRun)) add(sum, ahead[k]);
      }
    }
    a.sums[row * a.width + column] = sum;
  }
}

template <int kVector, class T>
void sum_segments(CudaQueue& queue, const RowSegmentSum<T>& a) {
  using Args = Segments<T, kVector>;
  const int64_t count = a.index.size(0), width = a.values.size(1) / kVector;
  const int64_t num_blocks = (count + kRun - 1) / kRun;
  const StreamMemory<uint32_t> row(queue, count), position(queue, count);
  const StreamMemory<typename Args::Sums> partial(queue, num_blocks * width);
  sort_with_positions(queue, a.index.data, count, bits_below(a.sums.size(0)), row.data(), position.data());

  const Args segments{reinterpret_cast<const typename Args::Values*>(a.values.data),
                      reinterpret_cast<typename Args::Sums*>(a.sums.data),
                      partial.data(),
                      row.data(),
                      position.data(),
                      count,
                      width};
  const auto columns = static_cast<unsigned>(width < kBlockSize ? width : kBlockSize);
  const dim3 threads(columns, kBlockSize / columns);
  run_kernel<T, kVector><<<blocks_for(num_blocks, threads.y), threads, 0, queue.handle>>>(segments);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  segment_kernel<T, kVector><<<blocks_for(count, threads.y), threads, 0, queue.handle>>>(segments);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowSegmentSum<T>& a) {
  constexpr int kVector = sizeof(T) >= 4 ? sizeof(Chunk) / sizeof(T) : 4;
  if (a.values.numel() == 0) return;
  ENGRAM_CHECK(a.sums.size(0) < std::numeric_limits<uint32_t>::max(), "row_segment_sum: ", a.sums.size(0),
               " rows of sums, wanted fewer than 2^32 - 1");
  const bool packs =
      in_packs<kVector>(a.values.size(1), a.values.data) && in_packs<kVector>(a.values.size(1), a.sums.data);
  if (packs) return sum_segments<kVector>(queue, a);
  sum_segments<1>(queue, a);
}

template void run(CudaQueue&, const RowSegmentSum<bfloat16>&);
template void run(CudaQueue&, const RowSegmentSum<float>&);
template void run(CudaQueue&, const RowSegmentSum<double>&);

}  // namespace engram
