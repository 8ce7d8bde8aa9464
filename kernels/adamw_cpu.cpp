#include <cmath>

#include "kernels/adamw_impl.h"

namespace engram {

template <class T>
void run(CpuQueue&, const AdamW<T>& args) {
  const AdamW<T> a = args;
  const int64_t count = a.weight.size(0);
  const T* grad = a.grad.data;
  T *weight = a.weight.data, *m = a.m.data, *v = a.v.data;
#pragma GCC ivdep  // four separate arrays
  for (int64_t i = 0; i < count; ++i) {
    const T g = a.grad_scale * grad[i];
    m[i] = a.beta1 * m[i] + a.one_minus_beta1 * g;
    v[i] = a.beta2 * v[i] + a.one_minus_beta2 * (g * g);
    weight[i] -= a.decay * weight[i] + a.step_size * m[i] / (std::sqrt(a.correction_v * v[i]) + a.eps);
  }
}

template void run(CpuQueue&, const AdamW<float>&);
template void run(CpuQueue&, const AdamW<double>&);

}  // namespace engram
