#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sort.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/unique_rows_impl.h"

namespace engram {
namespace {

// The keys in ascending order, and what is found out about each.
template <class Key>
struct SortedKeys {
  static constexpr Key kNone = static_cast<Key>(-1);

  UniqueRows a;
  const Key* sorted;
  const uint32_t* position;
  uint32_t* rank;  // first whether a key stands for the first time, then how many distinct ones do up to it

  __device__ bool is_first(int64_t i) const { return sorted[i] != kNone && (i == 0 || sorted[i] != sorted[i - 1]); }
};

template <class Key>
__global__ void __launch_bounds__(kBlockSize) first_kernel(SortedKeys<Key> keys) {
  const int64_t i = thread_index();
  if (i < keys.a.keys.size(0)) keys.rank[i] = keys.is_first(i);
}

template <class Key>
__global__ void __launch_bounds__(kBlockSize) place_kernel(SortedKeys<Key> keys) {
  const int64_t i = thread_index(), count = keys.a.keys.size(0);
  if (i >= count) return;
  const bool is_none = keys.sorted[i] == keys.kNone;
  const int64_t place = int64_t{keys.rank[i]} - 1;
  keys.a.inverse(keys.position[i]) = is_none ? -1 : place;
  if (keys.is_first(i)) keys.a.unique(place) = static_cast<int64_t>(keys.sorted[i]);
  if (i == count - 1) keys.a.count(0) = place + 1;
}

template <class Key>
void find_unique(CudaQueue& queue, const UniqueRows& a) {
  const int64_t count = a.keys.size(0);
  const StreamMemory<Key> sorted(queue, count);
  const StreamMemory<uint32_t> position(queue, count), rank(queue, count);
  sort_with_positions(queue, a.keys.data, count, bits_below(a.end), sorted.data(), position.data());
  const SortedKeys<Key> keys{a, sorted.data(), position.data(), rank.data()};
  launch_each(queue, first_kernel<Key>, count, keys);
  inclusive_sum(queue, rank.data(), count);
  launch_each(queue, place_kernel<Key>, count, keys);
}

}  // namespace

void run(CudaQueue& queue, const UniqueRows& a) {
  if (a.keys.size(0) == 0) {
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(a.count.data, 0, sizeof(int64_t), queue.handle));
    return;
  }
  if (bits_below(a.end) <= 32) return find_unique<uint32_t>(queue, a);
  find_unique<uint64_t>(queue, a);
}

}  // namespace engram
