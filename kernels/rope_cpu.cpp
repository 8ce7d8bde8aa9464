#include <cmath>

#include "kernels/cpu_math.h"
#include "kernels/rope_impl.h"

namespace engram {
namespace {

// y = x turned by the angles, or back by them where `direction` is -1. y may be x.
template <class T>
void turn(int64_t half, const T* x, const T* angles, T direction, T* y) {
#pragma GCC ivdep  // y may be x, but never overlaps it shifted
  for (int64_t c = 0; c < half; ++c) {
    const T cosine = angles[2 * c], sine = direction * angles[2 * c + 1];
    const T low = x[c], high = x[c + half];
    y[c] = low * cosine - high * sine;
    y[c + half] = low * sine + high * cosine;
  }
}

template <class T>
T inverse_rms(int64_t head_dim, const T* x, T eps) {
  return 1 / std::sqrt(lane_sum<T>(head_dim, [=](int64_t c) { return x[c] * x[c]; }) / T(head_dim) + eps);
}

// Calls body(position, head, angles of the position).
template <class T, class Body>
void for_each_head(const Heads<T>& y, const View<const T, 3>& table, Body&& body) {
  for (int64_t position = 0; position < y.num_positions(); ++position) {
    const T* angles = table.row(position % y.size(1));
    for (int64_t head = 0; head < y.size(2); ++head) body(position, head, angles);
  }
}

}  // namespace

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
void run(CpuQueue&, const RopeForward<T>& a) {
  const int64_t head_dim = a.y.size(3);
  for_each_head(a.y, a.table, [&](int64_t position, int64_t head, const T* angles) {
    const T* x = a.x.at(position, head);
    T* y = a.y.at(position, head);
    if (a.norm.query_gain.data != nullptr) {
      const T* gain = head < a.norm.num_query_heads ? a.norm.query_gain.data : a.norm.key_gain.data;
      const T inv_rms = inverse_rms(head_dim, x, a.norm.eps);
#pragma GCC ivdep  // as in turn()
      for (int64_t c = 0; c < head_dim; ++c) y[c] = x[c] * inv_rms * gain[c];
      x = y;
    }
    turn(head_dim / 2, x, angles, T(1), y);
  });
}

template <class T>
void run(CpuQueue&, const RopeBackward<T>& a) {
  const int64_t head_dim = a.dx.size(3);
  for_each_head(a.dx, a.table, [&](int64_t position, int64_t head, const T* angles) {
    T* dx = a.dx.at(position, head);
    turn(head_dim / 2, a.dy.at(position, head), angles, T(-1), dx);
    if (a.norm.query_gain.data == nullptr) return;
    const bool is_query = head < a.norm.num_query_heads;
    const T *x = a.x.at(position, head), *gain = is_query ? a.norm.query_gain.data : a.norm.key_gain.data;
    T* dgain = is_query ? a.dquery_gain.data : a.dkey_gain.data;
    const T inv_rms = inverse_rms(head_dim, x, a.norm.eps);
    const T dot = lane_sum<T>(head_dim, [=](int64_t c) { return dx[c] * gain[c] * x[c]; });
    const T scale = dot * inv_rms * inv_rms * inv_rms / T(head_dim);
#pragma GCC ivdep  // four separate arrays
    for (int64_t c = 0; c < head_dim; ++c) {
      dgain[c] += dx[c] * x[c] * inv_rms;
      dx[c] = inv_rms * dx[c] * gain[c] - x[c] * scale;
    }
  });
}

template void run(CpuQueue&, const RopeTable<float>&);
template void run(CpuQueue&, const RopeTable<double>&);
template void run(CpuQueue&, const RopeForward<float>&);
template void run(CpuQueue&, const RopeForward<double>&);
template void run(CpuQueue&, const RopeBackward<float>&);
template void run(CpuQueue&, const RopeBackward<double>&);

}  // namespace engram
