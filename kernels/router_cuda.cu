#include <type_traits>

#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/top_k.cuh"
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
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), top_k = a.expert.size(1);
  if (row >= a.logits.size(0)) return;
  const Acc *logits = a.logits.row(row), *dweight = a.dweight.row(row);
  const int32_t* expert = a.expert.row(row);
  T* dlogits = a.dlogits.row(row);
  for (int64_t e = threadIdx.x; e < a.logits.size(1); e += kWarpSize) dlogits[e] = T(Acc(0));
  __syncwarp();  // the zeros come before the gradients of the chosen
  const Acc sum = sum_of_chosen(logits, expert, top_k);
  Acc mean = 0;
  for (int64_t i = 0; i < top_k; ++i) mean += dweight[i] * sigmoid(logits[expert[i]]) / sum;
  for (int64_t i = threadIdx.x; i < top_k; i += kWarpSize) {
    const Acc s = sigmoid(logits[expert[i]]);
    dlogits[expert[i]] = T(a.scale / sum * (dweight[i] - mean) * s * (1 - s));
  }
}

// The forms for float logits of at most kWarpSize * kMostPerLane experts and at most kWarpSize choices: all of a row's
// scores stay in the registers of a warp.
constexpr int kMostPerLane = 8;
constexpr int kFewWarps = 8;
constexpr int kRowsOfWarp = 8;

// Lane l holds experts [l * kPerLane, (l + 1) * kPerLane), and choice l at the end. A block counts its choices before
// it adds them to the load.
template <int kPerLane>
__global__ void __launch_bounds__(kWarpSize* kFewWarps) forward_few_kernel(RouterForward<float> a) {
  __shared__ int load_of[kWarpSize * kPerLane];
  const int num_experts = static_cast<int>(a.logits.size(1)), top_k = static_cast<int>(a.expert.size(1));
  const int lane = static_cast<int>(threadIdx.x), thread = static_cast<int>(threadIdx.y) * kWarpSize + lane;
  for (int e = thread; e < num_experts; e += kWarpSize * kFewWarps) load_of[e] = 0;
  __syncthreads();
  const int64_t first_row = (int64_t{blockIdx.x} * kFewWarps + threadIdx.y) * kRowsOfWarp;
  const int64_t end = min(first_row + kRowsOfWarp, a.logits.size(0));
  for (int64_t row = first_row; row < end; ++row) {
    float affinity[kPerLane];
    unsigned keys[kPerLane];
    bool any_nan = false;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int e = lane * kPerLane + j;
      affinity[j] = e < num_experts ? sigmoid(a.logits.row(row)[e]) : 0.0f;
      keys[j] = e < num_experts ? key_of(affinity[j] + a.bias.data[e]) : kTaken;
      any_nan = any_nan || keys[j] == kNotANumber;
    }
    any_nan = __any_sync(0xffffffffu, any_nan);
    float sum = static_cast<float>(kSmallAffinity), own = 0;
    int32_t expert = 0;
    for (int i = 0; i < top_k; ++i) {
      const int chosen = take_best<kPerLane>(keys, any_nan);
      float of_chosen = affinity[0];
#pragma unroll
      for (int j = 1; j < kPerLane; ++j) of_chosen = chosen % kPerLane == j ? affinity[j] : of_chosen;
      of_chosen = __shfl_sync(0xffffffffu, of_chosen, chosen / kPerLane);
      sum += of_chosen;
      expert = lane == i ? chosen : expert;
      own = lane == i ? of_chosen : own;
    }
    if (lane >= top_k) continue;
    atomicAdd(&load_of[expert], 1);
    a.expert.row(row)[lane] = expert;
    a.weight.row(row)[lane] = own * (a.scale / sum);
  }
  __syncthreads();
  for (int e = thread; e < num_experts; e += kWarpSize * kFewWarps) {
    if (load_of[e] == 0) continue;
    atomicAdd(reinterpret_cast<unsigned long long*>(a.load.data + e), static_cast<unsigned long long>(load_of[e]));
  }
}

// Lane l holds choice l, and writes every 32nd column of the row.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kFewWarps) backward_few_kernel(RouterBackward<T> a) {
  const int num_experts = static_cast<int>(a.logits.size(1)), top_k = static_cast<int>(a.expert.size(1));
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t row = int64_t{blockIdx.x} * kFewWarps + threadIdx.y;
  if (row >= a.logits.size(0)) return;
  int32_t expert = -1;
  float affinity = 0, dweight = 0, sum = static_cast<float>(kSmallAffinity), mean = 0;
  if (lane < top_k) {
    expert = a.expert.row(row)[lane];
    dweight = a.dweight.row(row)[lane];
    affinity = sigmoid(a.logits.row(row)[expert]);
  }
  for (int i = 0; i < top_k; ++i) sum += __shfl_sync(0xffffffffu, affinity, i);
  const float part = dweight * affinity / sum;
  for (int i = 0; i < top_k; ++i) mean += __shfl_sync(0xffffffffu, part, i);
  const float gradient = a.scale / sum * (dweight - mean) * affinity * (1 - affinity);
  for (int begin = 0; begin < num_experts; begin += kWarpSize) {
    float dlogit = 0;
    for (int i = 0; i < top_k; ++i) {
      const float other = __shfl_sync(0xffffffffu, gradient, i);
      if (__shfl_sync(0xffffffffu, expert, i) == begin + lane) dlogit = other;
    }
    if (begin + lane < num_experts) a.dlogits.row(row)[begin + lane] = T(dlogit);
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

bool few(int64_t num_experts, int64_t top_k) { return num_experts <= kWarpSize * kMostPerLane && top_k <= kWarpSize; }

template <int kPerLane>
void launch_few(CudaQueue& queue, const RouterForward<float>& a) {
  if (a.logits.size(1) > kWarpSize * kPerLane) {
    if constexpr (kPerLane < kMostPerLane) launch_few<2 * kPerLane>(queue, a);
    return;
  }
  const dim3 threads(kWarpSize, kFewWarps);
  const unsigned num_blocks = blocks_for(a.logits.size(0), kFewWarps * kRowsOfWarp);
  forward_few_kernel<kPerLane><<<num_blocks, threads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RouterForward<T>& a) {
  if (a.logits.size(0) == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (few(a.logits.size(1), a.expert.size(1))) return launch_few<1>(queue, a);
  }
  launch_rows(queue, forward_kernel<T>, a.logits.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RouterBackward<T>& a) {
  if (a.logits.size(0) == 0) return;
  if constexpr (std::is_same_v<Accumulator<T>, float>) {
    if (few(a.logits.size(1), a.expert.size(1))) {
      const dim3 threads(kWarpSize, kFewWarps);
      backward_few_kernel<T><<<blocks_for(a.logits.size(0), kFewWarps), threads, 0, queue.handle>>>(a);
      ENGRAM_CUDA_CHECK(cudaGetLastError());
      return;
    }
  }
  launch_rows(queue, backward_kernel<T>, a.logits.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RouterUpdateBias<T>& a) {
  launch_rows(queue, update_bias_kernel<T>, a.load.size(0), a);
}

template void run(CudaQueue&, const RouterForward<float>&);
template void run(CudaQueue&, const RouterForward<double>&);
template void run(CudaQueue&, const RouterBackward<bfloat16>&);
template void run(CudaQueue&, const RouterBackward<float>&);
template void run(CudaQueue&, const RouterBackward<double>&);
template void run(CudaQueue&, const RouterUpdateBias<float>&);
template void run(CudaQueue&, const RouterUpdateBias<double>&);

}  // namespace engram
