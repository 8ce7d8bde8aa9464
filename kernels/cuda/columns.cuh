#pragma once

#include "kernels/core/stream.h"
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace engram {

constexpr int kColumnLanes = 32;  // threads that share a column, each with every 32nd row

// Column of this thread in a launch by launch_columns(); may lie past the last one.
__device__ inline int64_t block_column() { return int64_t{blockIdx.x} * kWarpSize + threadIdx.x; }

// The sum of term(row) for row in [0, num_rows) of the thread's column, in an order that depends on num_rows alone; the
// same on all threads of the column. All threads of the block call it, those without a column with num_rows = 0.
template <class Acc, class Term>
__device__ Acc column_sum(int64_t num_rows, Term&& term) {
  __shared__ Acc partial[kColumnLanes][kWarpSize];
  Acc sum = 0;
  for (int64_t row = threadIdx.y; row < num_rows; row += kColumnLanes) sum += term(row);
  __syncthreads();  // whoever read the previous call's sums is done
  partial[threadIdx.y][threadIdx.x] = sum;
  for (int half = kColumnLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) partial[threadIdx.y][threadIdx.x] += partial[threadIdx.y + half][threadIdx.x];
  }
  __syncthreads();
  return partial[0][threadIdx.x];
}

// Runs kernel(args...) with kColumnLanes threads for each of `num_columns` columns, where there are any. The kernel
// takes __launch_bounds__(kWarpSize * kColumnLanes).
template <class... Parameters, class... Args>
void launch_columns(CudaQueue& queue, void (*kernel)(Parameters...), int64_t num_columns, const Args&... args) {
  if (num_columns == 0) return;
  const dim3 threads(kWarpSize, kColumnLanes);
  kernel<<<blocks_for(num_columns, kWarpSize), threads, 0, queue.handle>>>(args...);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class Acc>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes)
    add_column_sums_kernel(const Acc* values, int64_t num_rows, int64_t width, Acc* sums) {
  const int64_t column = block_column();
  const bool inside = column < width;
  const Acc sum = column_sum<Acc>(inside ? num_rows : 0, [&](int64_t row) { return values[row * width + column]; });
  if (inside && threadIdx.y == 0) sums[column] += sum;
}

// sums[c] += the sum over rows of values [num_rows, width], in a fixed order.
template <class Acc>
void add_column_sums(CudaQueue& queue, const Acc* values, int64_t num_rows, int64_t width, Acc* sums) {
  launch_columns(queue, add_column_sums_kernel<Acc>, width, values, num_rows, width, sums);
}

}  // namespace engram
