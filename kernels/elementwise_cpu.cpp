#include "kernels/elementwise_impl.h"

namespace engram {

template <class T>
void run(CpuQueue&, const Add<T>& args) {
  const int64_t count = args.a.size(0);
  const T *a = args.a.data, *b = args.b.data;
  T* sum = args.sum.data;
  for (int64_t i = 0; i < count; ++i) sum[i] = a[i] + b[i];
}

template <class T>
void run(CpuQueue&, const Accumulate<T>& args) {
  const int64_t count = args.x.size(0);
  const T* x = args.x.data;
  T* y = args.y.data;
  for (int64_t i = 0; i < count; ++i) y[i] += x[i];
}

template <class T>
void run(CpuQueue&, const Scale<T>& args) {
  const int64_t count = args.x.size(0);
  const T factor = args.factor, *x = args.x.data;
  T* y = args.y.data;
  for (int64_t i = 0; i < count; ++i) y[i] = factor * x[i];
}

template void run(CpuQueue&, const Add<float>&);
template void run(CpuQueue&, const Add<double>&);
template void run(CpuQueue&, const Accumulate<float>&);
template void run(CpuQueue&, const Accumulate<double>&);
template void run(CpuQueue&, const Scale<float>&);
template void run(CpuQueue&, const Scale<double>&);

}  // namespace engram
