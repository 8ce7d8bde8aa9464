#include "kernels/adamw_impl.h"
#include "kernels/cuda/launch.cuh"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) adamw_kernel(AdamW<T> a) {
  const int64_t i = thread_index();
  if (i >= a.weight.size(0)) return;
  const T g = a.grad_scale * a.grad(i);
  const T m = a.beta1 * a.m(i) + a.one_minus_beta1 * g;
  const T v = a.beta2 * a.v(i) + a.one_minus_beta2 * (g * g);
  const T weight = a.weight(i);
  a.m(i) = m;
  a.v(i) = v;
  a.weight(i) = weight - (a.decay * weight + a.step_size * m / (sqrt(a.correction_v * v) + a.eps));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const AdamW<T>& a) {
  launch_each(queue, adamw_kernel<T>, a.weight.size(0), a);
}

template void run(CudaQueue&, const AdamW<float>&);
template void run(CudaQueue&, const AdamW<double>&);

}  // namespace engram
