#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu_math.h"
#include "kernels/short_conv_impl.h"

namespace engram {
namespace {

// The weight as [taps, channels], so that the inner loops run over channels.
template <class T>
std::vector<T> by_tap(const View<const T, 2>& weight) {
  const int64_t channels = weight.size(0), taps = weight.size(1);
  std::vector<T> result(static_cast<size_t>(channels * taps));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t j = 0; j < taps; ++j) result[static_cast<size_t>(j * channels + c)] = weight(c, j);
  }
  return result;
}

// Normed input of one sequence, [seq, channels].
template <class Args, class T>
void fill_normed(const Args& a, int64_t batch, std::vector<T>& normed) {
  const int64_t seq = a.v.size(1), streams = a.gain.size(0), width = a.gain.size(1);
  for (int64_t i = 0; i < seq * streams; ++i) {
    const T *v = a.v.row(batch) + i * width, *gain = a.gain.row(i % streams);
    const T inv_rms = a.inv_rms(batch, i / streams, i % streams);
    T* z = normed.data() + i * width;
    for (int64_t c = 0; c < width; ++c) z[c] = v[c] * inv_rms * gain[c];
  }
}

// Calls body(tap, position read) for every tap of position t that reads inside its segment, which begins at `begin`.
template <class Body>
void for_each_tap(int64_t taps, int64_t dilation, int64_t t, int64_t begin, Body&& body) {
  for (int64_t j = 0; j < taps; ++j) {
    const int64_t at = t - (taps - 1 - j) * dilation;
    if (at >= begin) body(j, at);
  }
}

// Calls body(t, first position of the segment of t, convolved values of t) for every position of one sequence.
template <class Args, class T, class Body>
void for_each_convolved(const Args& a, int64_t batch, const std::vector<T>& weight, const std::vector<T>& normed,
                        Body&& body) {
  const int64_t channels = a.v.size(2), taps = a.weight.size(1);
  std::vector<T> convolved(static_cast<size_t>(channels));
  int64_t begin = 0;
  for (int64_t t = 0; t < a.v.size(1); ++t) {
    if (a.starts.data != nullptr && a.starts(batch, t) != 0) begin = t;
    std::fill(convolved.begin(), convolved.end(), T(0));
    T* out = convolved.data();
    for_each_tap(taps, a.dilation, t, begin, [&](int64_t j, int64_t at) {
      const T *w = weight.data() + j * channels, *z = normed.data() + at * channels;
      for (int64_t c = 0; c < channels; ++c) out[c] += w[c] * z[c];
    });
    body(t, begin, out);
  }
}

// dv of one sequence from the gradient of its normed input; dgain's part is added to `dgain`.
template <class T>
void norm_backward(const ShortConvBackward<T>& a, int64_t batch, const std::vector<T>& dnormed, std::vector<T>& dgain) {
  const int64_t streams = a.gain.size(0), width = a.gain.size(1);
  for (int64_t i = 0; i < a.v.size(1) * streams; ++i) {
    const T *v = a.v.row(batch) + i * width, *dy = a.dy.row(batch) + i * width, *gain = a.gain.row(i % streams);
    const T* dz = dnormed.data() + i * width;
    const T inv_rms = a.inv_rms(batch, i / streams, i % streams);
    const T dot = lane_sum<T>(width, [&](int64_t c) { return gain[c] * dz[c] * v[c]; });
    const T along = dot * inv_rms * inv_rms * inv_rms / T(width);
    T *dv = a.dv.row(batch) + i * width, *sum = dgain.data() + i % streams * width;
    for (int64_t c = 0; c < width; ++c) {
      dv[c] = dy[c] + inv_rms * gain[c] * dz[c] - v[c] * along;
      sum[c] += dz[c] * v[c] * inv_rms;
    }
  }
}

}  // namespace

template <class T>
void run(CpuQueue& queue, const ShortConvForward<T>& a) {
  const int64_t seq = a.v.size(1), channels = a.v.size(2), streams = a.gain.size(0), width = a.gain.size(1);
  const std::vector<T> weight = by_tap(a.weight);
  std::vector<T> normed(static_cast<size_t>(seq * channels));
  queue.for_each_row(a.v.size(0), [&](int64_t batch) {
    for (int64_t i = 0; i < seq * streams; ++i) {
      const T* v = a.v.row(batch) + i * width;
      const T square = lane_sum<T>(width, [&](int64_t c) { return v[c] * v[c]; }) / T(width);
      a.inv_rms(batch, i / streams, i % streams) = 1 / std::sqrt(square + a.eps);
    }
    fill_normed(a, batch, normed);
    for_each_convolved(a, batch, weight, normed, [&](int64_t t, int64_t, const T* convolved) {
      const T* v = a.v.row(batch) + t * channels;
      T* y = a.y.row(batch) + t * channels;
      for (int64_t c = 0; c < channels; ++c) y[c] = v[c] + convolved[c] * fast_sigmoid(convolved[c]);
    });
  });
}

template <class T>
void run(CpuQueue& queue, const ShortConvBackward<T>& a) {
  const int64_t seq = a.v.size(1), channels = a.v.size(2), taps = a.weight.size(1);
  const std::vector<T> weight = by_tap(a.weight);
  std::vector<T> normed(static_cast<size_t>(seq * channels)), dnormed(normed.size());
  // Summed apart and added once, so that two calls add exactly twice.
  std::vector<T> dweight(weight.size()), dgain(static_cast<size_t>(channels)), dconvolved(dgain.size());
  queue.for_each_row(a.v.size(0), [&](int64_t batch) {
    fill_normed(a, batch, normed);
    std::fill(dnormed.begin(), dnormed.end(), T(0));
    for_each_convolved(a, batch, weight, normed, [&](int64_t t, int64_t begin, const T* convolved) {
      const T* dy = a.dy.row(batch) + t * channels;
      T* dout = dconvolved.data();
      for (int64_t c = 0; c < channels; ++c) {
        const T s = fast_sigmoid(convolved[c]);
        dout[c] = dy[c] * s * (1 + convolved[c] * (1 - s));
      }
      for_each_tap(taps, a.dilation, t, begin, [&](int64_t j, int64_t at) {
        const T *w = weight.data() + j * channels, *z = normed.data() + at * channels;
        T *dw = dweight.data() + j * channels, *dz = dnormed.data() + at * channels;
        for (int64_t c = 0; c < channels; ++c) dz[c] += w[c] * dout[c];
        for (int64_t c = 0; c < channels; ++c) dw[c] += z[c] * dout[c];
      });
    });
    norm_backward(a, batch, dnormed, dgain);
  });
  for (int64_t c = 0; c < channels; ++c) {
    a.dgain.data[c] += dgain[static_cast<size_t>(c)];
    for (int64_t j = 0; j < taps; ++j) a.dweight(c, j) += dweight[static_cast<size_t>(j * channels + c)];
  }
}

template void run(CpuQueue&, const ShortConvForward<float>&);
template void run(CpuQueue&, const ShortConvForward<double>&);
template void run(CpuQueue&, const ShortConvBackward<float>&);
template void run(CpuQueue&, const ShortConvBackward<double>&);

}  // namespace engram
