#include "kernels/cpu_math.h"
#include "kernels/swiglu_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const SwigluForward<T>& a) {
  const int64_t width = a.y.size(1);
  queue.for_each_row(a.y.size(0), [&](int64_t row) {
    const T *gate = a.gate_up.row(row), *up = gate + width;
    const T weight = a.weight.data == nullptr ? T(1) : a.weight.data[a.choice(row)];
    T* y = a.y.row(row);
    for (int64_t c = 0; c < width; ++c) y[c] = gate[c] * fast_sigmoid(gate[c]) * up[c] * weight;
  });
}

template <class T>
void run(CpuQueue& queue, const SwigluBackward<T>& a) {
  const int64_t width = a.dy.size(1);
  queue.for_each_row(a.dy.size(0), [&](int64_t row) {
    const T *gate = a.gate_up.row(row), *up = gate + width, *dy = a.dy.row(row);
    T *dgate = a.dgate_up.row(row), *dup = dgate + width;
    T weight = 1;
    if (a.weight.data != nullptr) {
      weight = a.weight.data[a.choice(row)];
      a.dweight.data[a.choice(row)] =
          lane_sum<T>(width, [&](int64_t c) { return dy[c] * up[c] * gate[c] * fast_sigmoid(gate[c]); });
    }
    for (int64_t c = 0; c < width; ++c) {
      const T x = gate[c], u = up[c], s = fast_sigmoid(x), d = dy[c] * weight;
      dgate[c] = d * u * s * (1 + x * (1 - s));
      dup[c] = d * x * s;
    }
  });
}

template void run(CpuQueue&, const SwigluForward<float>&);
template void run(CpuQueue&, const SwigluForward<double>&);
template void run(CpuQueue&, const SwigluBackward<float>&);
template void run(CpuQueue&, const SwigluBackward<double>&);

}  // namespace engram
