#include <limits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/softmax_xent_impl.h"

namespace engram {
namespace {

constexpr int kRowThreads = 512;
constexpr int kBlocksPerProcessor = 2;

// Loss 0 and gradient 0 of a row without a target.
template <class T, int N>
__device__ void ignore_row(const SoftmaxXent<T>& a, int64_t row) {
  if (threadIdx.x == 0) a.loss(row) = Accumulator<T>(0);
  if (a.dlogits.data == nullptr) return;
  for (int64_t c = int64_t{threadIdx.x} * N; c < a.logits.size(1); c += kRowThreads * N) {
    store<T, N>(a.dlogits.row(row) + c, Values<T, N>{});
  }
}

// Of one row.
template <class Acc>
struct Softmax {
  Acc largest;
  Acc factor;  // scale / sum of e^(logit - largest)
};

// Gradients of the logits of a row's columns from c on.
template <class T, int N>
__device__ Values<T, N> gradient(const SoftmaxXent<T>& a, Values<T, N> logits, int64_t c,
                                 const Softmax<Accumulator<T>>& softmax, int64_t target) {
#pragma unroll
  for (int j = 0; j < N; ++j) logits.at[j] = exp_for<T>(logits.at[j] - softmax.largest) * softmax.factor;
  if (target < c || target >= c + N) return logits;
#pragma unroll
  for (int j = 0; j < N; ++j) logits.at[j] -= c + j == target ? a.scale : Accumulator<T>(0);
  return logits;
}

// One block a row, which it reads once and keeps in registers. dlogits may be logits. NaN reaches the loss by way of
// the sum.
template <class T, int kHeld>
__global__ void __launch_bounds__(kRowThreads, kBlocksPerProcessor) held_kernel(SoftmaxXent<T> a) {
  using Acc = Accumulator<T>;
  constexpr int N = kPerChunk<T>;
  const int64_t row = blockIdx.x, vocabulary = a.logits.size(1), target = a.targets(row);
  if (target == -1) return ignore_row<T, N>(a, row);
  const T* logits = a.logits.row(row);
  Chunk held[kHeld];
  Acc largest = -std::numeric_limits<Acc>::infinity(), sum = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int64_t c = (int64_t{threadIdx.x} + i * kRowThreads) * N;
    if (c < vocabulary) held[i] = load_raw<T, N>(logits + c);
  }
  const Acc target_logit = Acc(logits[target]);  // before the barriers, behind which other threads write
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if ((int64_t{threadIdx.x} + i * kRowThreads) * N >= vocabulary) continue;
    const auto values = unpack<T, N>(held[i]);
    for (int j = 0; j < N; ++j) largest = max(largest, values.at[j]);
  }
  largest = block_max(largest);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if ((int64_t{threadIdx.x} + i * kRowThreads) * N >= vocabulary) continue;
    const auto values = unpack<T, N>(held[i]);
    for (int j = 0; j < N; ++j) sum += exp_for<T>(values.at[j] - largest);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.loss(row) = log(sum) + (largest - target_logit);
  if (a.dlogits.data == nullptr) return;
  const Softmax<Acc> softmax{largest, a.scale / sum};
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int64_t c = (int64_t{threadIdx.x} + i * kRowThreads) * N;
    if (c >= vocabulary) continue;
    store<T, N>(a.dlogits.row(row) + c, gradient<T, N>(a, unpack<T, N>(held[i]), c, softmax, target));
  }
}

// The form for any vocabulary: the row is read three times, the last two from cache. dlogits may be logits: the last
// barrier lies between the last read of any element by another thread and the first write.
template <class T, int N>
__global__ void __launch_bounds__(kRowThreads) streamed_kernel(SoftmaxXent<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = blockIdx.x, vocabulary = a.logits.size(1), target = a.targets(row);
  if (target == -1) return ignore_row<T, N>(a, row);
  const T* logits = a.logits.row(row);
  const int64_t begin = int64_t{threadIdx.x} * N;
  constexpr int kStep = kRowThreads * N;
  Acc largest = -std::numeric_limits<Acc>::infinity(), sum = 0;
#pragma unroll 4
  for (int64_t c = begin; c < vocabulary; c += kStep) {
    const auto values = load<T, N>(logits + c);
    for (int j = 0; j < N; ++j) largest = max(largest, values.at[j]);
  }
  largest = block_max(largest);
#pragma unroll 4
  for (int64_t c = begin; c < vocabulary; c += kStep) {
    const auto values = load<T, N>(logits + c);
    for (int j = 0; j < N; ++j) sum += exp_for<T>(values.at[j] - largest);
  }
  const Acc target_logit = Acc(logits[target]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.loss(row) = log(sum) + (largest - target_logit);
  if (a.dlogits.data == nullptr) return;
  const Softmax<Acc> softmax{largest, a.scale / sum};
  for (int64_t c = begin; c < vocabulary; c += kStep) {
    store<T, N>(a.dlogits.row(row) + c, gradient<T, N>(a, load<T, N>(logits + c), c, softmax, target));
  }
}

template <class T>
void launch(CudaQueue& queue, void (*kernel)(SoftmaxXent<T>), const SoftmaxXent<T>& a) {
  kernel<<<blocks_for(a.logits.size(0), 1), kRowThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SoftmaxXent<T>& a) {
  if (a.logits.size(0) == 0) return;
  const int64_t vocabulary = a.logits.size(1);
  const bool chunks = in_chunks(vocabulary * static_cast<int64_t>(sizeof(T)), a.logits.data, a.dlogits.data);
  constexpr int64_t kStep = kRowThreads * kPerChunk<T>;
  if constexpr (!std::is_same_v<T, double>) {
    if (chunks && vocabulary <= 4 * kStep) return launch(queue, held_kernel<T, 4>, a);
    if (chunks && vocabulary <= 8 * kStep) return launch(queue, held_kernel<T, 8>, a);
  }
  with_access<T>(chunks, [&]<int N>() { launch(queue, streamed_kernel<T, N>, a); });
}

template void run(CudaQueue&, const SoftmaxXent<bfloat16>&);
template void run(CudaQueue&, const SoftmaxXent<float>&);
template void run(CudaQueue&, const SoftmaxXent<double>&);

}  // namespace engram
