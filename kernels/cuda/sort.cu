#include "kernels/cuda/sort.cuh"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/stream_memory.cuh"

namespace engram {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) iota_kernel(int64_t* values, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) values[i] = i;
}

// Calls function(workspace, its size) as CUB wants it: without memory for the size, then with it.
template <class Function>
void with_workspace(CudaQueue& queue, Function&& function) {
  size_t num_bytes = 0;
  ENGRAM_CUDA_CHECK(function(nullptr, num_bytes));
  const StreamMemory<char> workspace(queue, static_cast<int64_t>(num_bytes > 0 ? num_bytes : 1));
  ENGRAM_CUDA_CHECK(function(workspace.data(), num_bytes));
}

}  // namespace

void sort_with_positions(CudaQueue& queue, const int64_t* keys, int64_t count, int64_t* sorted, int64_t* position) {
  if (count == 0) return;
  const StreamMemory<int64_t> unsorted(queue, count);
  iota_kernel<<<blocks_for(count, kThreads), kThreads, 0, queue.handle>>>(unsorted.data(), count);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  with_workspace(queue, [&](void* workspace, size_t& num_bytes) {
    constexpr int kBits = 64;
    return cub::DeviceRadixSort::SortPairs(workspace, num_bytes, keys, sorted, unsorted.data(), position, count, 0,
                                           kBits, queue.handle);
  });
}

void inclusive_sum(CudaQueue& queue, int64_t* values, int64_t count) {
  if (count == 0) return;
  with_workspace(queue, [&](void* workspace, size_t& num_bytes) {
    return cub::DeviceScan::InclusiveSum(workspace, num_bytes, values, values, count, queue.handle);
  });
}

}  // namespace engram
