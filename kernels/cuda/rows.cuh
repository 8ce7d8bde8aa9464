#pragma once

#include "kernels/core/stream.h"
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace engram {

constexpr int kRowsPerBlock = 4;

// Row of this warp in a launch by launch_rows(); may lie past the last one.
__device__ inline int64_t warp_row() { return int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.y; }

// Rows from the last to the first; negative behind the first one. The product that comes before a launch has written
// the last rows last, which are in the cache still, and the one behind it begins with the rows that are done last.
__device__ inline int64_t warp_row_from_end(int64_t num_rows) { return num_rows - 1 - warp_row(); }

// Runs kernel(args...) with one warp for each of `num_rows` rows, where there are any; threadIdx.x is the lane.
template <class... Parameters, class... Args>
void launch_rows(CudaQueue& queue, void (*kernel)(Parameters...), int64_t num_rows, const Args&... args) {
  if (num_rows == 0) return;
  const dim3 threads(kWarpSize, kRowsPerBlock);
  kernel<<<blocks_for(num_rows, kRowsPerBlock), threads, 0, queue.handle>>>(args...);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
