#include <limits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/softmax_xent_impl.h"

namespace engram {
namespace {

constexpr int kRowThreads = 512;
constexpr int kRowWarps = kRowThreads / kWarpSize;

// Rows from the last to the first: the product that wrote the logits wrote the last rows last, which are in the cache
// still, and those that read the gradient begin with the first.
template <class T>
__device__ int64_t row_of_block(const SoftmaxXent<T>& a) {
  return a.logits.size(0) - 1 - int64_t{blockIdx.x};
}

// Loss 0 and gradient 0 of a row without a target.
template <class T, int N>
__device__ void ignore_row(const SoftmaxXent<T>& a, int64_t row) {
  if (threadIdx.x == 0) a.loss(row) = Accumulator<T>(0);
  if (a.dlogits.data == nullptr) return;
  for (int64_t c = int64_t{threadIdx.x} * N; c < a.logits.size(1); c += kRowThreads * N) {
    store<T, N>(a.dlogits.row(row) + c, Values<T, N>{});
  }
}

// sum * e^largest is the sum of e^x over some x, of which `largest` is the largest. NaN among them reaches the sum.
template <class T>
struct ExpSum {
  using Acc = Accumulator<T>;
  static constexpr Acc kNone = -std::numeric_limits<Acc>::infinity();
  Acc largest, sum;

  __device__ void raise(Acc to) {
    if (!(to > largest)) return;
    sum *= exp_for<T>(largest - to);
    largest = to;
  }
  // No value may be larger than the largest.
  template <int N>
  __device__ void add(const Values<T, N>& values) {
    const Acc base = largest == kNone ? Acc(0) : largest;
#pragma unroll
    for (int j = 0; j < N; ++j) sum += exp_for<T>(values.at[j] - base);
  }
};

template <class T, int N>
__device__ Accumulator<T> max_of(const Values<T, N>& values, Accumulator<T> largest) {
#pragma unroll
  for (int j = 0; j < N; ++j) largest = max(largest, values.at[j]);
  return largest;
}

// Over the warp, in a fixed order, on every lane.
template <class T>
__device__ ExpSum<T> warp_total(ExpSum<T> of_lane) {
  of_lane.raise(warp_max(of_lane.largest));
  of_lane.sum = warp_sum(of_lane.sum);
  return of_lane;
}

// Over the block, once in a kernel; a barrier.
template <class T>
__device__ ExpSum<T> block_total(ExpSum<T> of_thread) {
  __shared__ ExpSum<T> of_warp[kRowWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  of_thread = warp_total(of_thread);
  if (lane == 0) of_warp[threadIdx.x / kWarpSize] = of_thread;
  __syncthreads();
  return warp_total(lane < kRowWarps ? of_warp[lane] : ExpSum<T>{ExpSum<T>::kNone, 0});
}

// Of one row.
template <class T>
struct Gradient {
  using Acc = Accumulator<T>;
  Acc largest;
  Acc factor;  // scale / sum of e^(logit - largest)
  Acc scale;
  int32_t target;

  // Of the logits of columns c and on.
  template <int N, class Column>
  __device__ Values<T, N> operator()(Values<T, N> logits, Column c) const {
#pragma unroll
    for (int j = 0; j < N; ++j) logits.at[j] = exp_for<T>(logits.at[j] - largest) * factor;
    if (target < c || target >= c + N) return logits;
#pragma unroll
    for (int j = 0; j < N; ++j) logits.at[j] -= c + j == target ? scale : Acc(0);
    return logits;
  }
};

// Writes the row's loss.
template <class T>
__device__ Gradient<T> finish_loss(const SoftmaxXent<T>& a, int64_t row, const ExpSum<T>& total, int32_t target,
                                   Accumulator<T> target_logit) {
  if (threadIdx.x == 0) a.loss(row) = log(total.sum) + (total.largest - target_logit);
  return {total.largest, a.scale / total.sum, a.scale, target};
}

// One block a row, which it reads once and keeps in registers. dlogits may be logits: the barrier lies between the last
// read of another thread's element and the first write. Whether the row has a target is on its way with the logits.
template <class T, int kHeld>
__global__ void __launch_bounds__(kRowThreads, kHeld <= 4 ? 3 : 2) held_kernel(SoftmaxXent<T> a) {
  using Acc = Accumulator<T>;
  constexpr int N = kPerChunk<T>;
  const int64_t row = row_of_block(a);
  const int vocabulary = static_cast<int>(a.logits.size(1)), begin = static_cast<int>(threadIdx.x) * N;
  constexpr int kStep = kRowThreads * N;
  const T* logits = a.logits.row(row);
  Chunk held[kHeld];
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (begin + i * kStep < vocabulary) held[i] = load_raw<T, N>(logits + begin + i * kStep);
  }
  const int32_t target = a.targets(row);
  if (target == -1) return ignore_row<T, N>(a, row);
  const Acc target_logit = Acc(logits[target]);
  ExpSum<T> own{ExpSum<T>::kNone, 0};
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (begin + i * kStep < vocabulary) own.largest = max_of<T, N>(unpack<T, N>(held[i]), own.largest);
  }
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (begin + i * kStep < vocabulary) own.add(unpack<T, N>(held[i]));
  }
  const Gradient<T> gradient = finish_loss(a, row, block_total(own), target, target_logit);
  if (a.dlogits.data == nullptr) return;
  T* dlogits = a.dlogits.row(row);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int c = begin + i * kStep;
    if (c < vocabulary) store<T, N>(dlogits + c, gradient(unpack<T, N>(held[i]), c));
  }
}

// Places of a row on their way to a thread of the next kernel.
template <class T>
constexpr int kAhead = std::is_same_v<T, double> ? 2 : 4;

// Calls body(c, values) for this thread's columns c and on.
template <class T, int N, class Body>
__device__ void for_each_place(const T* row, int64_t width, Body&& body) {
  constexpr int kStep = kRowThreads * N;
  for (int64_t begin = int64_t{threadIdx.x} * N; begin < width; begin += kAhead<T> * kStep) {
    Raw<T, N> raws[kAhead<T>];
#pragma unroll
    for (int i = 0; i < kAhead<T>; ++i) {
      if (begin + i * kStep < width) raws[i] = load_raw<T, N>(row + begin + i * kStep);
    }
#pragma unroll
    for (int i = 0; i < kAhead<T>; ++i) {
      if (begin + i * kStep < width) body(begin + i * kStep, unpack<T, N>(raws[i]));
    }
  }
}

// The form for any vocabulary: the row is read twice, the second time from cache. dlogits may be logits, as above.
template <class T, int N>
__global__ void __launch_bounds__(kRowThreads) streamed_kernel(SoftmaxXent<T> a) {
  const int64_t row = row_of_block(a), vocabulary = a.logits.size(1);
  const int32_t target = a.targets(row);
  if (target == -1) return ignore_row<T, N>(a, row);
  const T* logits = a.logits.row(row);
  const auto target_logit = Accumulator<T>(logits[target]);
  ExpSum<T> own{ExpSum<T>::kNone, 0};
  for_each_place<T, N>(logits, vocabulary, [&](int64_t, const Values<T, N>& values) {
    own.raise(max_of<T, N>(values, ExpSum<T>::kNone));
    own.add(values);
  });
  const Gradient<T> gradient = finish_loss(a, row, block_total(own), target, target_logit);
  if (a.dlogits.data == nullptr) return;
  T* dlogits = a.dlogits.row(row);
  for_each_place<T, N>(logits, vocabulary,
                       [&](int64_t c, const Values<T, N>& values) { store<T, N>(dlogits + c, gradient(values, c)); });
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
