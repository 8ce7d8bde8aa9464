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

// kCount elements from number `pack * kCount` on.
template <class T, class M, int kCount>
__device__ void update_pack(const AdamW<T, M>& a, const AdamWFactors<T>& factors, int64_t pack) {
  using Values = Pack<T, kCount>;
  using Moments = Pack<M, kCount>;
  const Values grad = reinterpret_cast<const Values*>(a.grad.data)[pack];
  Values weight = reinterpret_cast<Values*>(a.weight.data)[pack];
  Moments m = reinterpret_cast<Moments*>(a.m.data)[pack], v = reinterpret_cast<Moments*>(a.v.data)[pack];
  Pack<bfloat16, kCount> rounded;
  for (int i = 0; i < kCount; ++i) {
    update_element(factors, grad.value[i], weight.value[i], m.value[i], v.value[i]);
    rounded.value[i] = bfloat16(float(weight.value[i]));
  }
  reinterpret_cast<Values*>(a.weight.data)[pack] = weight;
  reinterpret_cast<Moments*>(a.m.data)[pack] = m;
  reinterpret_cast<Moments*>(a.v.data)[pack] = v;
  if (a.rounded.data != nullptr) reinterpret_cast<Pack<bfloat16, kCount>*>(a.rounded.data)[pack] = rounded;
}

template <class T, class M, int kCount>
__global__ void __launch_bounds__(kBlockSize) adamw_kernel(AdamW<T, M> a) {
  __shared__ AdamWFactors<T> factors;
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;  // for the whole block
  if (threadIdx.x == 0) factors = factors_of<T>(a.options, control);
  __syncthreads();
  const int64_t num_packs = a.weight.size(0) / kCount, stride = int64_t{gridDim.x} * kBlockSize;
  for (int64_t pack = thread_index(); pack < num_packs; pack += stride) update_pack<T, M, kCount>(a, factors, pack);
  const int64_t left = num_packs * kCount + thread_index();
  if (left < a.weight.size(0)) update_pack<T, M, 1>(a, factors, left);
}

template <class T, class M>
bool is_aligned(const AdamW<T, M>& a) {
  const auto fits = []<class V>(const V* data) {
    return reinterpret_cast<uintptr_t>(data) % sizeof(Pack<V, kPerThread>) == 0;
  };
  return fits(a.weight.data) && fits(a.grad.data) && fits(a.m.data) && fits(a.v.data) && fits(a.rounded.data);
}

}  // namespace

template <class T, class M>
void run(CudaQueue& queue, const AdamW<T, M>& a) {
  const int64_t count = a.weight.size(0);
  if (count == 0) return;
  const unsigned num_blocks = blocks_for(std::min(count, kMaxBlocks * kBlockSize), kBlockSize);
  if (is_aligned(a)) {
    adamw_kernel<T, M, kPerThread><<<num_blocks, kBlockSize, 0, queue.handle>>>(a);
  } else {
    adamw_kernel<T, M, 1><<<num_blocks, kBlockSize, 0, queue.handle>>>(a);
  }
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const AdamW<float, float>&);
template void run(CudaQueue&, const AdamW<float, bfloat16>&);
template void run(CudaQueue&, const AdamW<double, double>&);
template void run(CudaQueue&, const AdamW<double, bfloat16>&);

}  // namespace engram
