#include <cstddef>
#include <vector>

#include "kernels/bias_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const AddBiasForward<T>& a) {
  const int64_t width = a.x.size(1);
  queue.for_each_row(a.x.size(0), [&](int64_t row) {
    const T *x = a.x.row(row), *bias = a.bias.data;
    T* y = a.y.row(row);
    for (int64_t c = 0; c < width; ++c) y[c] = x[c] + bias[c];
  });
}

template <class T>
void run(CpuQueue& queue, const AddBiasBackward<T>& a) {
  const int64_t width = a.dy.size(1);
  std::vector<T> sum(static_cast<size_t>(width));  // added once, so that two calls add exactly twice
  queue.for_each_row(a.dy.size(0), [&](int64_t row) {
    const T* dy = a.dy.row(row);
    for (int64_t c = 0; c < width; ++c) sum.data()[c] += dy[c];
  });
  for (int64_t c = 0; c < width; ++c) a.dbias.data[c] += sum.data()[c];
}

template void run(CpuQueue&, const AddBiasForward<float>&);
template void run(CpuQueue&, const AddBiasForward<double>&);
template void run(CpuQueue&, const AddBiasBackward<float>&);
template void run(CpuQueue&, const AddBiasBackward<double>&);

}  // namespace engram
