#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sort.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/unique_rows_impl.h"

namespace engram {
namespace {

// The keys in ascending order, those of -1 last, and what is found out about each.
template <class Key>
struct SortedKeys {
  static constexpr Key kNone = static_cast<Key>(-1);

  UniqueRows a;
  const Key* sorted;
  uint32_t* rank;  // first whether a key stands for the first time, then how many distinct ones do up to it

  __device__ bool is_none(int64_t i) const { return i == a.keys.size(0) || sorted[i] == kNone; }
  __device__ bool is_first(int64_t i) const { return !is_none(i) && (i == 0 || sorted[i] != sorted[i - 1]); }
};

template <class Key>
__global__ void __launch_bounds__(kBlockSize) first_kernel(SortedKeys<Key> keys) {
  const int64_t i = thread_index();
  if (i < keys.a.keys.size(0)) keys.rank[i] = keys.is_first(i);
}

// With one thread past the last key, for the end of what is not -1.
template <class Key>
__global__ void __launch_bounds__(kBlockSize) place_kernel(SortedKeys<Key> keys) {
  const UniqueRows& a = keys.a;
  const int64_t i = thread_index(), count = a.keys.size(0);
  if (i > count) return;
  const bool is_none = keys.is_none(i);
  if (is_none && (i == 0 || !keys.is_none(i - 1))) {
    const int64_t num_unique = i == 0 ? 0 : int64_t{keys.rank[i - 1]};
    a.count(0) = num_unique;
    a.offsets(num_unique) = static_cast<int32_t>(i);
  }
  if (i == count) return;
  const int64_t place = int64_t{keys.rank[i]} - 1;
  a.inverse(a.order(i)) = is_none ? -1 : place;
  if (!keys.is_first(i)) return;
  a.unique(place) = static_cast<int64_t>(keys.sorted[i]);
  a.offsets(place) = static_cast<int32_t>(i);
}

template <class Key>
void find_unique(CudaQueue& queue, const UniqueRows& a) {
  const int64_t count = a.keys.size(0);
  const StreamMemory<Key> sorted(queue, count);
  const StreamMemory<uint32_t> rank(queue, count);
  sort_with_positions(queue, a.keys.data, count, bits_below(a.end), sorted.data(),
                      reinterpret_cast<uint32_t*>(a.order.data));
  const SortedKeys<Key> keys{a, sorted.data(), rank.data()};
  launch_each(queue, first_kernel<Key>, count, keys);
  inclusive_sum(queue, rank.data(), count);
  launch_each(queue, place_kernel<Key>, count + 1, keys);
}

}  // namespace

void run(CudaQueue& queue, const UniqueRows& a) {
  if (bits_below(a.end) <= 32) return find_unique<uint32_t>(queue, a);
  find_unique<uint64_t>(queue, a);
}

}  // namespace engram
