#include <limits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/softmax_xent_impl.h"

namespace engram {
namespace {

constexpr int kRowThreads = 512;

// One block a row: the row is read three times, the last two from cache. dlogits may be logits: the last barrier lies
// between the last read of any element by another thread and the first write.
template <class T>
__global__ void __launch_bounds__(kRowThreads) softmax_xent_kernel(SoftmaxXent<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = blockIdx.x, vocabulary = a.logits.size(1), target = a.targets(row);
  T* dlogits = a.dlogits.data == nullptr ? nullptr : a.dlogits.row(row);
  if (target == -1) {
    if (threadIdx.x == 0) a.loss(row) = Acc(0);
    if (dlogits == nullptr) return;
    for (int64_t c = threadIdx.x; c < vocabulary; c += kRowThreads) dlogits[c] = T(Acc(0));
    return;
  }
  const T* logits = a.logits.row(row);
  Acc largest = -std::numeric_limits<Acc>::infinity();
  for (int64_t c = threadIdx.x; c < vocabulary; c += kRowThreads) largest = larger(largest, Acc(logits[c]));
  largest = block_max(largest);

  Acc sum = 0;
  for (int64_t c = threadIdx.x; c < vocabulary; c += kRowThreads) sum += exp(Acc(logits[c]) - largest);
  const Acc target_logit = Acc(logits[target]);
  sum = block_sum(sum);

  if (threadIdx.x == 0) a.loss(row) = log(sum) + (largest - target_logit);
  if (dlogits == nullptr) return;
  const Acc factor = a.scale / sum;
  for (int64_t c = threadIdx.x; c < vocabulary; c += kRowThreads) {
    dlogits[c] = T(exp(Acc(logits[c]) - largest) * factor - (c == target ? a.scale : Acc(0)));
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SoftmaxXent<T>& a) {
  if (a.logits.size(0) == 0) return;
  softmax_xent_kernel<T><<<blocks_for(a.logits.size(0), 1), kRowThreads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const SoftmaxXent<bfloat16>&);
template void run(CudaQueue&, const SoftmaxXent<float>&);
template void run(CudaQueue&, const SoftmaxXent<double>&);

}  // namespace engram
