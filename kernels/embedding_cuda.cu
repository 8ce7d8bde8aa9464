#include <cub/device/device_radix_sort.cuh>
#include <limits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/embedding_impl.h"

namespace engram {
namespace {

constexpr int kRowThreads = 128;

template <class T>
__global__ void __launch_bounds__(kRowThreads) forward_kernel(EmbeddingForward<T> a) {
  const int64_t i = blockIdx.x, width = a.table.size(1);
  const T* from = a.table.row(a.tokens(i));
  T* to = a.y.row(i);
  for (int64_t c = threadIdx.x; c < width; c += kRowThreads) to[c] = from[c];
}

// Positions sorted by their token, equal tokens in the order of position.
struct Sorted {
  const int32_t* token;
  const int32_t* position;
};

__global__ void __launch_bounds__(kBlockSize) count_up_kernel(View<int32_t, 1> positions) {
  const int64_t i = thread_index();
  if (i < positions.size(0)) positions(i) = static_cast<int32_t>(i);
}

// Token ids lie in [0, num_rows), so that the low bits of unsigned keys are enough.
Sorted sort(CudaQueue& queue, const View<const int32_t, 1>& tokens, int64_t num_rows) {
  const int64_t count = tokens.size(0);
  ENGRAM_CHECK(count <= std::numeric_limits<int32_t>::max(), "embedding: ", count, " tokens; wanted fewer than 2^31");
  int num_bits = 1;
  while ((int64_t{1} << num_bits) < num_rows) ++num_bits;
  int64_t used = 0;
  const View<int32_t, 1> positions{scratch<int32_t>(queue, count, used), {count}};
  auto* sorted_token = scratch<uint32_t>(queue, count, used);
  auto* sorted_position = scratch<int32_t>(queue, count, used);
  launch_each(queue, count_up_kernel, count, positions);
  const auto* keys = reinterpret_cast<const uint32_t*>(tokens.data);
  const auto radix_sort = [&](void* memory, size_t& num_bytes) {
    ENGRAM_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(memory, num_bytes, keys, sorted_token, positions.data,
                                                      sorted_position, static_cast<int>(count), 0, num_bits,
                                                      queue.handle));
  };
  size_t num_bytes = 0;
  radix_sort(nullptr, num_bytes);
  radix_sort(scratch<char>(queue, static_cast<int64_t>(num_bytes), used), num_bytes);
  return {reinterpret_cast<const int32_t*>(sorted_token), sorted_position};
}

// One block a run of equal tokens, found by its first entry; each thread keeps its column's sum.
template <class T>
__global__ void __launch_bounds__(kRowThreads) backward_kernel(EmbeddingBackward<T> a, Sorted sorted) {
  const int64_t begin = blockIdx.x, count = a.tokens.size(0), width = a.dy.size(1);
  const int32_t token = sorted.token[begin];
  if (begin > 0 && sorted.token[begin - 1] == token) return;
  int64_t end = begin + 1;
  while (end < count && sorted.token[end] == token) ++end;
  for (int64_t c = threadIdx.x; c < width; c += kRowThreads) {
    Accumulator<T> sum = a.dtable(token, c);
    for (int64_t i = begin; i < end; ++i) sum += Accumulator<T>(a.dy(sorted.position[i], c));
    a.dtable(token, c) = sum;
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const EmbeddingForward<T>& a) {
  if (a.y.numel() == 0) return;
  forward_kernel<T><<<blocks_for(a.tokens.size(0), 1), kRowThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void run(CudaQueue& queue, const EmbeddingBackward<T>& a) {
  if (a.dy.numel() == 0) return;
  const Sorted sorted = sort(queue, a.tokens, a.dtable.size(0));
  backward_kernel<T><<<blocks_for(a.tokens.size(0), 1), kRowThreads, 0, queue.handle>>>(a, sorted);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const EmbeddingForward<bfloat16>&);
template void run(CudaQueue&, const EmbeddingForward<float>&);
template void run(CudaQueue&, const EmbeddingForward<double>&);
template void run(CudaQueue&, const EmbeddingBackward<bfloat16>&);
template void run(CudaQueue&, const EmbeddingBackward<float>&);
template void run(CudaQueue&, const EmbeddingBackward<double>&);

}  // namespace engram
