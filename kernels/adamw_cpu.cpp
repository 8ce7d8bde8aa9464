#include <cmath>

#include "kernels/adamw_impl.h"

namespace engram {

template <class T>
void run(CpuQueue&, const AdamW<T>& args) {
  const UpdateControl control = read_control(args.control);
  if (!control.apply) return;
  const AdamWFactors<T> a = factors_of<T>(args.options, control);
  const int64_t count = args.weight.size(0);
  const T* grad = args.grad.data;
  T *weight = args.weight.data, *m = args.m.data, *v = args.v.data;
#pragma GCC ivdep  // four separate arrays
  for (int64_t i = 0; i < count; ++i) {
    const T g = a.grad_scale * grad[i];
    m[i] = a.beta1 * m[i] + a.one_minus_beta1 * g;
    v[i] = a.beta2 * v[i] + a.one_minus_beta2 * (g * g);
    weight[i] -= a.decay * weight[i] + a.step_size * m[i] / (std::sqrt(a.correction_v * v[i]) + a.eps);
  }
  if (args.rounded.data == nullptr) return;
  for (int64_t i = 0; i < count; ++i) args.rounded.data[i] = bfloat16(static_cast<float>(weight[i]));
}

template void run(CpuQueue&, const AdamW<float>&);
template void run(CpuQueue&, const AdamW<double>&);

}  // namespace engram
