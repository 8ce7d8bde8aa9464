#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sort.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/unique_rows_impl.h"

namespace engram {
namespace {

constexpr int kThreads = 256;

// rank[i] = 1 where a key stands for the first time in sorted order.
__global__ void __launch_bounds__(kThreads) first_kernel(const int64_t* sorted, int64_t count, int64_t* rank) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) rank[i] = i == 0 || sorted[i] != sorted[i - 1];
}

// rank[i]: number of distinct keys up to i in sorted order, so the key's place is one less.
__global__ void __launch_bounds__(kThreads)
    place_kernel(UniqueRows a, const int64_t* sorted, const int64_t* position, const int64_t* rank) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, count = a.keys.size(0);
  if (i >= count) return;
  const int64_t place = rank[i] - 1;
  a.inverse(position[i]) = place;
  if (i == 0 || sorted[i] != sorted[i - 1]) a.unique(place) = sorted[i];
  if (i == count - 1) a.count(0) = rank[i];
}

}  // namespace

void run(CudaQueue& queue, const UniqueRows& a) {
  const int64_t count = a.keys.size(0);
  if (count == 0) {
    ENGRAM_CUDA_CHECK(cudaMemsetAsync(a.count.data, 0, sizeof(int64_t), queue.handle));
    return;
  }
  const StreamMemory<int64_t> sorted(queue, count), position(queue, count), rank(queue, count);
  sort_with_positions(queue, a.keys.data, count, sorted.data(), position.data());
  const unsigned num_blocks = blocks_for(count, kThreads);
  first_kernel<<<num_blocks, kThreads, 0, queue.handle>>>(sorted.data(), count, rank.data());
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  inclusive_sum(queue, rank.data(), count);
  place_kernel<<<num_blocks, kThreads, 0, queue.handle>>>(a, sorted.data(), position.data(), rank.data());
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace engram
