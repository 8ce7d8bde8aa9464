#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/router_impl.h"

namespace engram {
namespace {

// An expert that could be chosen; none: expert is one past the last.
template <class T>
struct Candidate {
  T score;
  int32_t expert;
};

// The better of the two by larger score, then by lower number; no score is NaN.
template <class T>
__device__ Candidate<T> better(Candidate<T> a, Candidate<T> b, int32_t none) {
  if (a.expert == none || b.expert == none) return a.expert == none ? b : a;
  const bool take_b = b.score > a.score || (b.score == a.score && b.expert < a.expert);
  return take_b ? b : a;
}

__device__ bool is_chosen(const int32_t* expert, int64_t count, int32_t candidate) {
  for (int64_t i = 0; i < count; ++i) {
    if (expert[i] == candidate) return true;
  }
  return false;
}

template <class T>
__device__ T sum_of_chosen(const T* logits, const int32_t* expert, int64_t top_k) {
  T sum = T(kSmallAffinity);
  for (int64_t i = 0; i < top_k; ++i) sum += sigmoid(logits[expert[i]]);
  return sum;
}

// One warp a row: each choice is one pass over the experts that are not chosen yet. As on the CPU a NaN score never
// loses to and never beats another, so it is chosen where it stands first among them and nowhere else.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(RouterForward<T> a) {
  const int64_t row = warp_row(), top_k = a.expert.size(1);
  if (row >= a.logits.size(0)) return;
  const auto none = static_cast<int32_t>(a.logits.size(1));
  const T* logits = a.logits.row(row);
  int32_t* expert = a.expert.row(row);
  for (int64_t i = 0; i < top_k; ++i) {
    Candidate<T> best{T(0), none};
    int32_t lowest = none;
    for (auto e = static_cast<int32_t>(threadIdx.x); e < none; e += kWarpSize) {
      if (is_chosen(expert, i, e)) continue;
      const T score = sigmoid(logits[e]) + a.bias(e);
      if (lowest == none) lowest = e;
      if (!isnan(score)) best = better(best, Candidate<T>{score, e}, none);
    }
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      const Candidate<T> other{__shfl_xor_sync(0xffffffffu, best.score, offset),
                               __shfl_xor_sync(0xffffffffu, best.expert, offset)};
      best = better(best, other, none);
      lowest = min(lowest, __shfl_xor_sync(0xffffffffu, lowest, offset));
    }
    const int32_t chosen = isnan(sigmoid(logits[lowest]) + a.bias(lowest)) ? lowest : best.expert;
    if (threadIdx.x == 0) {
      expert[i] = chosen;
      atomicAdd(reinterpret_cast<unsigned long long*>(&a.load(chosen)), 1ull);
    }
    __syncwarp();  // all lanes see the choice
  }
  const T factor = a.scale / sum_of_chosen(logits, expert, top_k);
  for (int64_t i = threadIdx.x; i < top_k; i += kWarpSize) a.weight(row, i) = sigmoid(logits[expert[i]]) * factor;
}

// With S = sum of the chosen s: ds_i = scale / S * (dweight_i - sum_j dweight_j s_j / S), dlogit = ds * s * (1 - s).
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) backward_kernel(RouterBackward<T> a) {
  const int64_t row = warp_row(), top_k = a.expert.size(1);
  if (row >= a.logits.size(0)) return;
  const T *logits = a.logits.row(row), *dweight = a.dweight.row(row);
  const int32_t* expert = a.expert.row(row);
  T* dlogits = a.dlogits.row(row);
  for (int64_t e = threadIdx.x; e < a.logits.size(1); e += kWarpSize) dlogits[e] = 0;
  __syncwarp();  // the zeros come before the gradients of the chosen
  const T sum = sum_of_chosen(logits, expert, top_k);
  T mean = 0;
  for (int64_t i = 0; i < top_k; ++i) mean += dweight[i] * sigmoid(logits[expert[i]]) / sum;
  for (int64_t i = threadIdx.x; i < top_k; i += kWarpSize) {
    const T s = sigmoid(logits[expert[i]]);
    dlogits[expert[i]] = a.scale / sum * (dweight[i] - mean) * s * (1 - s);
  }
}

// One warp for all experts of a layer.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) update_bias_kernel(RouterUpdateBias<T> a) {
  const int64_t layer = warp_row(), num_experts = a.load.size(1);
  if (layer >= a.load.size(0) || !read_control(a.control).apply) return;
  int64_t total = 0;
  for (int64_t e = threadIdx.x; e < num_experts; e += kWarpSize) total += a.load(layer, e);
  total = warp_sum(total);
  for (int64_t e = threadIdx.x; e < num_experts; e += kWarpSize) {
    const int64_t above = a.load(layer, e) * num_experts;  // compared with total: the mean in whole numbers
    a.bias(layer, e) += a.rate * T((total > above) - (total < above));
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RouterForward<T>& a) {
  launch_rows(queue, forward_kernel<T>, a.logits.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RouterBackward<T>& a) {
  launch_rows(queue, backward_kernel<T>, a.logits.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RouterUpdateBias<T>& a) {
  launch_rows(queue, update_bias_kernel<T>, a.load.size(0), a);
}

template void run(CudaQueue&, const RouterForward<float>&);
template void run(CudaQueue&, const RouterForward<double>&);
template void run(CudaQueue&, const RouterBackward<float>&);
template void run(CudaQueue&, const RouterBackward<double>&);
template void run(CudaQueue&, const RouterUpdateBias<float>&);
template void run(CudaQueue&, const RouterUpdateBias<double>&);

}  // namespace engram
