#pragma once

#include <cstdint>
#include <limits>

#include "kernels/core/stream.h"
#include "kernels/cuda/check.cuh"

namespace engram {

// Threads of a block where nothing speaks for another number.
constexpr int kBlockSize = 256;

// Blocks of a launch that covers `count` items, `per_block` in each.
inline unsigned blocks_for(int64_t count, int64_t per_block) {
  const int64_t num_blocks = (count + per_block - 1) / per_block;
  ENGRAM_CHECK(num_blocks <= std::numeric_limits<int32_t>::max(), "launch: ", num_blocks, " blocks for ", count,
               " items; CUDA takes at most 2^31 - 1");
  return static_cast<unsigned>(num_blocks);
}

// Number of this thread in a one-dimensional launch.
__device__ inline int64_t thread_index() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// Runs kernel(args) with one thread for each of `count` items, where there are any.
template <class Args>
void launch_each(CudaQueue& queue, void (*kernel)(Args), int64_t count, const Args& args) {
  if (count == 0) return;
  kernel<<<blocks_for(count, kBlockSize), kBlockSize, 0, queue.handle>>>(args);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
