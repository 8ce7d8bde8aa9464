#include <cmath>

#include "kernels/rope_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const RopeTable<T>& a) {
  const int64_t half = a.table.size(1);
  queue.for_each_row(a.table.size(0), [&](int64_t position) {
    for (int64_t c = 0; c < half; ++c) {
      const double angle = double(position) * std::pow(a.theta, -double(c) / double(half));
      a.table(position, c, 0) = T(std::cos(angle));
      a.table(position, c, 1) = T(std::sin(angle));
    }
  });
}

template <class T>
void run(CpuQueue& queue, const Rope<T>& a) {
  const int64_t seq = a.x.size(1), num_heads = a.x.size(2), head_dim = a.x.size(3), half = head_dim / 2;
  const T direction = a.backward ? T(-1) : T(1);
  queue.for_each_row(a.x.size(0) * seq, [&](int64_t row) {
    const T* angles = a.table.row(row % seq);
    for (int64_t head = 0; head < num_heads; ++head) {
      const T* x = a.x.data + (row * num_heads + head) * head_dim;
      T* y = a.y.data + (row * num_heads + head) * head_dim;
#pragma GCC ivdep  // y may be x, but never overlaps it shifted
      for (int64_t c = 0; c < half; ++c) {
        const T cosine = angles[2 * c], sine = direction * angles[2 * c + 1];
        const T low = x[c], high = x[c + half];
        y[c] = low * cosine - high * sine;
        y[c + half] = low * sine + high * cosine;
      }
    }
  });
}

template void run(CpuQueue&, const RopeTable<float>&);
template void run(CpuQueue&, const RopeTable<double>&);
template void run(CpuQueue&, const Rope<float>&);
template void run(CpuQueue&, const Rope<double>&);

}  // namespace engram
