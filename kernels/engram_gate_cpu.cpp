#include <algorithm>
#include <vector>

#include "kernels/cpu_math.h"
#include "kernels/engram_gate_impl.h"

namespace engram {
namespace {

template <class T>
T inverse_rms(const T* x, int64_t width, T eps) {
  return 1 / std::sqrt(lane_sum<T>(width, [&](int64_t c) { return x[c] * x[c]; }) / T(width) + eps);
}

bool is_dead(const View<const uint8_t, 1>& dead, int64_t row) { return dead.data != nullptr && dead(row) != 0; }

// Sums of the gains' gradients over rows; added once, so that two calls add exactly twice.
template <class T>
struct GainSums {
  std::vector<T> q, k;
  explicit GainSums(int64_t count) : q(static_cast<size_t>(count)), k(static_cast<size_t>(count)) {}
};

// One stream of one row. With b = ds * rq * rk / sqrt(width), the norms' gradients reduce to
//   dh = b * gq * gk * key - h * ds * s * rq^2 / width, and the same for key with h and key exchanged.
template <class T>
void backward_stream(const EngramGateBackward<T>& a, int64_t row, int64_t stream, GainSums<T>& sums) {
  const int64_t streams = a.h.size(1), width = a.h.size(2), at = stream * width;
  const T *h = a.h.row(row) + at, *key = a.kv.row(row) + at, *value = a.kv.row(row) + streams * width;
  const T *gain_q = a.gain_q.row(stream), *gain_k = a.gain_k.row(stream), *dgated = a.dgated.row(row) + at;
  const T score = a.score(row, stream), alpha = a.alpha(row, stream);
  const T inv_q = a.inv_rms_q(row, stream), inv_k = a.inv_rms_k(row, stream);

  T* dvalue = a.dkv.row(row) + streams * width;
  for (int64_t c = 0; c < width; ++c) dvalue[c] = (stream == 0 ? T(0) : dvalue[c]) + alpha * dgated[c];

  const T dalpha = lane_sum<T>(width, [&](int64_t c) { return dgated[c] * value[c]; });
  const T dscore = dalpha * alpha * (1 - alpha) * gate_slope(score, a.form);
  const T both = dscore * inv_q * inv_k / std::sqrt(T(width)), along = dscore * score / T(width);
  const T along_q = along * inv_q * inv_q, along_k = along * inv_k * inv_k;
  T *dh = a.dh.row(row) + at, *dkey = a.dkv.row(row) + at;
  T *sum_q = sums.q.data() + at, *sum_k = sums.k.data() + at;
  const T* dpast = a.dpast.data == nullptr ? nullptr : a.dpast.row(row) + at;
  for (int64_t c = 0; c < width; ++c) {
    const T gain = both * gain_q[c] * gain_k[c], cross = both * h[c] * key[c];
    dh[c] = gain * key[c] - h[c] * along_q + (dpast == nullptr ? T(0) : dpast[c]);
    dkey[c] = gain * h[c] - key[c] * along_k;
    sum_q[c] += cross * gain_k[c];
    sum_k[c] += cross * gain_q[c];
  }
}

}  // namespace

template <class T>
void run(CpuQueue& queue, const EngramGateForward<T>& a) {
  const int64_t streams = a.h.size(1), width = a.h.size(2);
  queue.for_each_row(a.h.size(0), [&](int64_t row) {
    const T* value = a.kv.row(row) + streams * width;
    for (int64_t m = 0; m < streams; ++m) {
      T* gated = a.gated.row(row) + m * width;
      if (is_dead(a.dead, row)) {
        a.score(row, m) = a.alpha(row, m) = a.inv_rms_q(row, m) = a.inv_rms_k(row, m) = 0;
        std::fill(gated, gated + width, T(0));
        continue;
      }
      const T *h = a.h.row(row) + m * width, *key = a.kv.row(row) + m * width;
      const T *gain_q = a.gain_q.row(m), *gain_k = a.gain_k.row(m);
      const T inv_q = inverse_rms(h, width, a.eps), inv_k = inverse_rms(key, width, a.eps);
      const T dot =
          lane_sum<T>(width, [&](int64_t c) { return h[c] * gain_q[c] * inv_q * (key[c] * gain_k[c] * inv_k); });
      const T score = dot / std::sqrt(T(width)), alpha = fast_sigmoid(gate_argument(score, a.form, a.sign));
      for (int64_t c = 0; c < width; ++c) gated[c] = alpha * value[c];
      a.score(row, m) = score;
      a.alpha(row, m) = alpha;
      a.inv_rms_q(row, m) = inv_q;
      a.inv_rms_k(row, m) = inv_k;
    }
  });
}

template <class T>
void run(CpuQueue& queue, const EngramGateBackward<T>& a) {
  const int64_t streams = a.h.size(1), all = streams * a.h.size(2);
  GainSums<T> sums(all);
  queue.for_each_row(a.h.size(0), [&](int64_t row) {
    if (!is_dead(a.dead, row)) {
      for (int64_t stream = 0; stream < streams; ++stream) backward_stream(a, row, stream, sums);
      return;
    }
    std::fill(a.dkv.row(row), a.dkv.row(row) + a.dkv.size(1), T(0));
    for (int64_t c = 0; c < all; ++c) a.dh.row(row)[c] = a.dpast.data == nullptr ? T(0) : a.dpast.row(row)[c];
  });
  for (int64_t c = 0; c < all; ++c) {
    a.dgain_q.data[c] += sums.q.data()[c];
    a.dgain_k.data[c] += sums.k.data()[c];
  }
}

template void run(CpuQueue&, const EngramGateForward<float>&);
template void run(CpuQueue&, const EngramGateForward<double>&);
template void run(CpuQueue&, const EngramGateBackward<float>&);
template void run(CpuQueue&, const EngramGateBackward<double>&);

}  // namespace engram
