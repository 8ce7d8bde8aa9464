#include <algorithm>

#include "kernels/adamw_impl.h"
#include "kernels/cuda/launch.cuh"

namespace engram {
namespace {

// Elements of a thread at once: 16 bytes of float, which aligned vectors of the compiler's making load and store.
constexpr int kPerThread = 4;
// Blocks that fill any card; each computes the factors, whose powers are dear, once.
constexpr int64_t kMaxBlocks = 2048;

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

template <class T>
__device__ void update(const AdamWFactors<T>& a, T grad, T& weight, T& m, T& v) {
  const T g = a.grad_scale * grad;
  m = a.beta1 * m + a.one_minus_beta1 * g;
  v = a.beta2 * v + a.one_minus_beta2 * (g * g);
  weight -= a.decay * weight + a.step_size * m / (sqrt(a.correction_v * v) + a.eps);
}

// kCount elements from number `pack * kCount` on.
template <class T, int kCount>
__device__ void update_pack(const AdamW<T>& a, const AdamWFactors<T>& factors, int64_t pack) {
  using Values = Pack<T, kCount>;
  const Values grad = reinterpret_cast<const Values*>(a.grad.data)[pack];
  Values weight = reinterpret_cast<Values*>(a.weight.data)[pack];
  Values m = reinterpret_cast<Values*>(a.m.data)[pack], v = reinterpret_cast<Values*>(a.v.data)[pack];
  Pack<bfloat16, kCount> rounded;
  for (int i = 0; i < kCount; ++i) {
    update(factors, grad.value[i], weight.value[i], m.value[i], v.value[i]);
    rounded.value[i] = bfloat16(float(weight.value[i]));
  }
  reinterpret_cast<Values*>(a.weight.data)[pack] = weight;
  reinterpret_cast<Values*>(a.m.data)[pack] = m;
  reinterpret_cast<Values*>(a.v.data)[pack] = v;
  if (a.rounded.data != nullptr) reinterpret_cast<Pack<bfloat16, kCount>*>(a.rounded.data)[pack] = rounded;
}

template <class T, int kCount>
__global__ void __launch_bounds__(kBlockSize) adamw_kernel(AdamW<T> a) {
  __shared__ AdamWFactors<T> factors;
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;  // for the whole block
  if (threadIdx.x == 0) factors = factors_of<T>(a.options, control);
  __syncthreads();
  const int64_t num_packs = a.weight.size(0) / kCount, stride = int64_t{gridDim.x} * kBlockSize;
  for (int64_t pack = thread_index(); pack < num_packs; pack += stride) update_pack<T, kCount>(a, factors, pack);
  const int64_t left = num_packs * kCount + thread_index();
  if (left < a.weight.size(0)) update_pack<T, 1>(a, factors, left);
}

template <class T>
bool is_aligned(const AdamW<T>& a) {
  const auto fits = [](const void* data, size_t size) { return reinterpret_cast<uintptr_t>(data) % size == 0; };
  return fits(a.weight.data, sizeof(Pack<T, kPerThread>)) && fits(a.grad.data, sizeof(Pack<T, kPerThread>)) &&
         fits(a.m.data, sizeof(Pack<T, kPerThread>)) && fits(a.v.data, sizeof(Pack<T, kPerThread>)) &&
         fits(a.rounded.data, sizeof(Pack<bfloat16, kPerThread>));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const AdamW<T>& a) {
  const int64_t count = a.weight.size(0);
  if (count == 0) return;
  const unsigned num_blocks = blocks_for(std::min(count, kMaxBlocks * kBlockSize), kBlockSize);
  if (is_aligned(a)) {
    adamw_kernel<T, kPerThread><<<num_blocks, kBlockSize, 0, queue.handle>>>(a);
  } else {
    adamw_kernel<T, 1><<<num_blocks, kBlockSize, 0, queue.handle>>>(a);
  }
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const AdamW<float>&);
template void run(CudaQueue&, const AdamW<double>&);

}  // namespace engram
