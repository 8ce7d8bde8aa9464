#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/row_segment_sum_impl.h"

namespace engram {
namespace {

// Values of one row that are added one after the other; see the contract.
constexpr int64_t kRun = 64;
// Values of a thread that are on their way at once: of one row, and the first ones of several rows.
constexpr int kAhead = 8;
constexpr int kRows = 4;

// Work in packs of kVector columns. The values of a row, one after the other in `order`, are a segment; it is cut into
// runs of kRun. Of its runs but the first, the sums lie in `partial`, where the place of the run's begin over kRun
// says: no two begin in one block of kRun values.
template <class T, int kVector>
struct Segments {
  using Values = Pack<T, kVector>;
  using Sums = Pack<Accumulator<T>, kVector>;

  const Values* values;
  const int32_t* order;
  const int32_t* offsets;
  Sums* sums;
  Sums* partial;
  int64_t num_rows;
  int64_t width;  // packs of a row
};

template <class T, class Acc, int kVector>
__device__ void add(Pack<Acc, kVector>& sum, const Pack<T, kVector>& value) {
#pragma unroll
  for (int c = 0; c < kVector; ++c) sum.value[c] += static_cast<Acc>(value.value[c]);
}

// Adds what at(0), at(1), ..., at(count - 1) give, kAhead of them at once.
template <class Sums, class At>
__device__ void add_all(Sums& sum, int64_t count, At&& at) {
  for (int64_t base = 0; base < count; base += kAhead) {
    decltype(at(0)) ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (base + k < count) ahead[k] = at(base + k);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (base + k < count) add(sum, ahead[k]);
    }
  }
}

// Adds the values in order[begin, end).
template <class T, int kVector>
__device__ void add_run(const Segments<T, kVector>& a, int64_t begin, int64_t end, int64_t column,
                        typename Segments<T, kVector>::Sums& sum) {
  add_all(sum, end - begin, [&](int64_t k) { return a.values[int64_t{a.order[begin + k]} * a.width + column]; });
}

// The row whose segment holds place `at`.
__device__ inline int64_t row_at(const int32_t* offsets, int64_t num_rows, int64_t at) {
  int64_t low = 0, high = num_rows;  // offsets[low] <= at < offsets[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= at)
      low = middle;
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
  if (at >= a.offsets[a.num_rows]) return;
  const int64_t row = row_at(a.offsets, a.num_rows, at), begin = a.offsets[row], end = a.offsets[row + 1];
  const int64_t run = begin + (at - begin + kRun - 1) / kRun * kRun;
  if (run == begin || run >= end) return;
  for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x) {
    typename Segments<T, kVector>::Sums sum = {};
    add_run(a, run, run + kRun < end ? run + kRun : end, column, sum);
    a.partial[block * a.width + column] = sum;
  }
}

// The same over groups of kRows rows: their first values are on their way at once, then the others of each follow.
template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) segment_kernel(Segments<T, kVector> a) {
  const int64_t first = (int64_t{blockIdx.x} * blockDim.y + threadIdx.y) * kRows;
  if (first >= a.num_rows) return;
  const int64_t num_rows = a.num_rows - first < kRows ? a.num_rows - first : kRows;
  int64_t begin[kRows], end[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    begin[r] = r < num_rows ? a.offsets[first + r] : 0;
    end[r] = r < num_rows ? a.offsets[first + r + 1] : 0;
  }
  for (int64_t column = threadIdx.x; column < a.width; column += blockDim.x) {
    typename Segments<T, kVector>::Values value[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (begin[r] < end[r]) value[r] = a.values[int64_t{a.order[begin[r]]} * a.width + column];
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= num_rows) break;
      typename Segments<T, kVector>::Sums sum = {};
      add(sum, value[r]);
      add_run(a, begin[r] + 1, begin[r] + kRun < end[r] ? begin[r] + kRun : end[r], column, sum);
      const int64_t next = begin[r] + kRun;  // begin of the second run
      add_all(sum, (end[r] - next + kRun - 1) / kRun,
              [&](int64_t k) { return a.partial[(next / kRun + k) * a.width + column]; });
      a.sums[(first + r) * a.width + column] = sum;
    }
  }
}

template <int kVector, class T>
void sum_segments(CudaQueue& queue, const RowSegmentSum<T>& a) {
  using Args = Segments<T, kVector>;
  const int64_t num_rows = a.sums.size(0), width = a.values.size(1) / kVector;
  const int64_t num_blocks = (a.order.size(0) + kRun - 1) / kRun;
  const StreamMemory<typename Args::Sums> partial(queue, num_blocks * width);
  const Args segments{reinterpret_cast<const typename Args::Values*>(a.values.data),
                      a.order.data,
                      a.offsets.data,
                      reinterpret_cast<typename Args::Sums*>(a.sums.data),
                      partial.data(),
                      num_rows,
                      width};
  const auto columns = static_cast<unsigned>(width < kBlockSize ? width : kBlockSize);
  const dim3 threads(columns, kBlockSize / columns);
  if (num_blocks > 0) {
    run_kernel<T, kVector><<<blocks_for(num_blocks, threads.y), threads, 0, queue.handle>>>(segments);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
  }
  segment_kernel<T, kVector><<<blocks_for(num_rows, threads.y * kRows), threads, 0, queue.handle>>>(segments);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowSegmentSum<T>& a) {
  constexpr int kVector = kPerChunk<T>;
  if (a.sums.numel() == 0) return;
  const bool packs =
      in_packs<kVector>(a.values.size(1), a.values.data) && in_packs<kVector>(a.values.size(1), a.sums.data);
  if (packs) return sum_segments<kVector>(queue, a);
  sum_segments<1>(queue, a);
}

template void run(CudaQueue&, const RowSegmentSum<bfloat16>&);
template void run(CudaQueue&, const RowSegmentSum<float>&);
template void run(CudaQueue&, const RowSegmentSum<double>&);

}  // namespace engram
