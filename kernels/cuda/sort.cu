#include "kernels/cuda/sort.cuh"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <limits>

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/stream_memory.cuh"

namespace engram {
namespace {

template <class Key>
struct Unsorted {
  const int64_t* keys;
  int64_t count;
  Key* key;
  uint32_t* position;
};

template <class Key>
__global__ void __launch_bounds__(kBlockSize) number_kernel(Unsorted<Key> a) {
  const int64_t i = thread_index();
  if (i >= a.count) return;
  a.key[i] = static_cast<Key>(a.keys[i]);
  a.position[i] = static_cast<uint32_t>(i);
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

template <class Key>
void sort_with_positions(CudaQueue& queue, const int64_t* keys, int64_t count, int bits, Key* sorted,
                         uint32_t* position) {
  if (count == 0) return;
  ENGRAM_CHECK(count <= std::numeric_limits<uint32_t>::max(), "sort: ", count, " keys, wanted fewer than 2^32");
  const StreamMemory<Key> key(queue, count);
  const StreamMemory<uint32_t> number(queue, count);
  launch_each(queue, number_kernel<Key>, count, Unsorted<Key>{keys, count, key.data(), number.data()});
  with_workspace(queue, [&](void* workspace, size_t& num_bytes) {
    return cub::DeviceRadixSort::SortPairs(workspace, num_bytes, key.data(), sorted, number.data(), position, count, 0,
                                           bits, queue.handle);
  });
}

template void sort_with_positions(CudaQueue&, const int64_t*, int64_t, int, uint32_t*, uint32_t*);
template void sort_with_positions(CudaQueue&, const int64_t*, int64_t, int, uint64_t*, uint32_t*);

void inclusive_sum(CudaQueue& queue, uint32_t* values, int64_t count) {
  if (count == 0) return;
  with_workspace(queue, [&](void* workspace, size_t& num_bytes) {
    return cub::DeviceScan::InclusiveSum(workspace, num_bytes, values, values, count, queue.handle);
  });
}

}  // namespace engram
