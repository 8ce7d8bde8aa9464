#include <cmath>

#include "kernels/rms_norm_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const RmsNormForward<T>& a) {
  const int64_t width = a.x.size(1);
  queue.for_each_row(a.x.size(0), [&](int64_t row) {
    const T* x = a.x.row(row);
    if (a.delta.data != nullptr) {
      const T* delta = a.delta.row(row);
      T* total = a.sum.row(row);
      for (int64_t c = 0; c < width; ++c) total[c] = x[c] + delta[c];
      x = total;
    }
    T sum = 0;
    for (int64_t c = 0; c < width; ++c) sum += x[c] * x[c];
    const T inv_rms = 1 / std::sqrt(sum / T(width) + a.eps);
    a.inv_rms(row) = inv_rms;
    T* y = a.y.row(row);
    for (int64_t c = 0; c < width; ++c) y[c] = x[c] * inv_rms * a.weight.data[c];
  });
}

template <class T>
void run(CpuQueue& queue, const RmsNormBackward<T>& a) {
  const int64_t width = a.x.size(1);
  queue.for_each_row(a.x.size(0), [&](int64_t row) {
    const T *x = a.x.row(row), *dy = a.dy.row(row), *weight = a.weight.data;
    const T inv_rms = a.inv_rms(row);
    T dot = 0;
    for (int64_t c = 0; c < width; ++c) dot += dy[c] * weight[c] * x[c];
    const T scale = dot * inv_rms * inv_rms * inv_rms / T(width);
    for (int64_t c = 0; c < width; ++c) a.dweight.data[c] += dy[c] * x[c] * inv_rms;
    T* dx = a.dx.row(row);
    const T* dsum = a.dsum.data == nullptr ? nullptr : a.dsum.row(row);
    for (int64_t c = 0; c < width; ++c) {
      dx[c] = inv_rms * dy[c] * weight[c] - x[c] * scale + (dsum == nullptr ? T(0) : dsum[c]);
    }
  });
}

template void run(CpuQueue&, const RmsNormForward<float>&);
template void run(CpuQueue&, const RmsNormForward<double>&);
template void run(CpuQueue&, const RmsNormBackward<float>&);
template void run(CpuQueue&, const RmsNormBackward<double>&);

}  // namespace engram
