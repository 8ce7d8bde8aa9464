#pragma once

#include <algorithm>

#include "kernels/core/stream.h"
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"

// Blocks that take several rows, so that rows of few packs leave no thread idle: threadIdx.x walks over the packs of a
// row, threadIdx.y over rows.
namespace engram {

// Rows of a thread: what it reads of them is on its way together.
constexpr int kRowsPerThread = 2;

inline dim3 row_threads(int64_t num_packs) {
  const auto columns = static_cast<unsigned>(std::clamp<int64_t>(num_packs, 1, kBlockSize));
  return dim3(columns, kBlockSize / columns);
}

// Rows of this block in a launch by launch_row_packs(), and the first of them; they may end past the last row of all.
__device__ inline int block_rows() { return static_cast<int>(kRowsPerThread * blockDim.y); }
__device__ inline int64_t first_block_row() { return int64_t{blockIdx.x} * block_rows(); }

// Place among its block's rows of this thread's row `u` of kRowsPerThread.
__device__ inline int place_in_block(int u) { return static_cast<int>(u * blockDim.y + threadIdx.y); }

// Calls fn(u, row) for each of this thread's rows.
template <class Fn>
__device__ void for_each_thread_row(int64_t num_rows, Fn&& fn) {
#pragma unroll
  for (int u = 0; u < kRowsPerThread; ++u) {
    const int64_t row = first_block_row() + place_in_block(u);
    if (row < num_rows) fn(u, row);
  }
}

// Calls fn(place in the block, row) for each row of the block, by one of its threads.
template <class Fn>
__device__ void for_each_block_row(int64_t num_rows, Fn&& fn) {
  const auto thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const auto num_threads = static_cast<int>(blockDim.x * blockDim.y);
  for (int place = thread; place < block_rows(); place += num_threads) {
    const int64_t row = first_block_row() + place;
    if (row < num_rows) fn(place, row);
  }
}

// Runs kernel(args...) over `num_rows` rows of `num_packs` packs, where there are any.
template <class... Parameters, class... Args>
void launch_row_packs(CudaQueue& queue, void (*kernel)(Parameters...), int64_t num_rows, int64_t num_packs,
                      const Args&... args) {
  if (num_rows == 0) return;
  const dim3 threads = row_threads(num_packs);
  kernel<<<blocks_for(num_rows, int64_t{threads.y} * kRowsPerThread), threads, 0, queue.handle>>>(args...);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
