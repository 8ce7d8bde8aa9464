#include "kernels/adamw_impl.h"

namespace engram {

template <class T, class M>
void run(CpuQueue&, const AdamW<T, M>& args) {
  const UpdateControl control = read_control(args.control);
  if (!control.apply) return;
  const AdamWFactors<T> a = factors_of<T>(args.options, control);
  const int64_t count = args.weight.size(0);
  const T* grad = args.grad.data;
  T* weight = args.weight.data;
  M *m = args.m.data, *v = args.v.data;
#pragma GCC ivdep  // four separate arrays
  for (int64_t i = 0; i < count; ++i) update_element(a, grad[i], weight[i], m[i], v[i]);
  if (args.rounded.data == nullptr) return;
  for (int64_t i = 0; i < count; ++i) args.rounded.data[i] = bfloat16(static_cast<float>(weight[i]));
}

template void run(CpuQueue&, const AdamW<float, float>&);
template void run(CpuQueue&, const AdamW<float, bfloat16>&);
template void run(CpuQueue&, const AdamW<double, double>&);
template void run(CpuQueue&, const AdamW<double, bfloat16>&);

}  // namespace engram
