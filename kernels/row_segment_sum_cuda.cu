#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/sort.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/row_segment_sum_impl.h"

namespace engram {
namespace {

// Rows in the order of their index, `row` [n] ascending; where equal, `position` [n] ascends.
struct Segments {
  const int64_t* row;
  const int64_t* position;
};

// One warp a value row in sorted order and 32 columns (blockIdx.y): the first of each segment sums all of it, in order.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) sum_kernel(RowSegmentSum<T> a, Segments segments) {
  using Acc = Accumulator<T>;
  const int64_t begin = warp_row(), count = a.index.size(0), width = a.values.size(1);
  if (begin >= count) return;
  const int64_t row = segments.row[begin];
  if (row < 0 || (begin > 0 && segments.row[begin - 1] == row)) return;

  const int64_t column = int64_t{blockIdx.y} * kWarpSize + threadIdx.x;
  const bool inside = column < width;
  Acc sum = inside ? a.sums(row, column) : Acc(0);
  bool more = true;
  for (int64_t base = begin; more; base += kWarpSize) {
    const int64_t i = base + threadIdx.x;
    const bool same = i < count && segments.row[i] == row;
    const int64_t position = same ? segments.position[i] : 0;
    const int length = __popc(__ballot_sync(0xffffffffu, same));  // rows of a segment stand together
    for (int k = 0; k < length; ++k) {
      const int64_t at = __shfl_sync(0xffffffffu, position, k);
      if (inside) sum += Acc(a.values(at, column));
    }
    more = length == kWarpSize;
  }
  if (inside) a.sums(row, column) = sum;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowSegmentSum<T>& a) {
  const int64_t count = a.index.size(0);
  if (a.values.numel() == 0) return;
  const StreamMemory<int64_t> row(queue, count), position(queue, count);
  sort_with_positions(queue, a.index.data, count, row.data(), position.data());
  const dim3 blocks(blocks_for(count, kRowsPerBlock), blocks_for(a.values.size(1), kWarpSize));
  sum_kernel<T><<<blocks, dim3(kWarpSize, kRowsPerBlock), 0, queue.handle>>>(a, Segments{row.data(), position.data()});
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const RowSegmentSum<bfloat16>&);
template void run(CudaQueue&, const RowSegmentSum<float>&);
template void run(CudaQueue&, const RowSegmentSum<double>&);

}  // namespace engram
