#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/short_conv_walk.cuh"

namespace engram {
namespace {

using namespace short_conv_walk;

constexpr int N = 4;  // channels of a thread

// A position's data.
template <class T>
struct Position {
  Raw<T, N> v{}, dy{};
  Accumulator<T> inv_rms = 0;
};

// The last kTaps positions of a class, the newest last.
template <class T>
struct History {
  Raw<T, N> dy[kTaps] = {};
  Accumulator<T> inv_rms[kTaps] = {};
  Values<T, N> normed[kTaps] = {};  // v * inv_rms
  Values<T, N> dout[kTaps] = {};    // gradients of the convolved values
  unsigned masks[kTaps] = {};       // of readable_taps()

  __device__ void advance(const Position<T>& position, unsigned mask, const Taps<T, N>& taps) {
    using Acc = Accumulator<T>;
    shift(dy, position.dy);
    shift(inv_rms, position.inv_rms);
    shift(masks, mask);
    Values<T, N> newest = unpack<T, N>(position.v);
    for (int i = 0; i < N; ++i) newest.at[i] *= position.inv_rms;
    shift(normed, newest);
    const Values<T, N> o = convolve<T, N>(taps, normed, mask);
    newest = unpack<T, N>(position.dy);
    for (int i = 0; i < N; ++i) {
      const Acc sigma = sigmoid_for<T>(o.at[i]);
      newest.at[i] *= sigma * (1 + o.at[i] * (1 - sigma));
    }
    shift(dout, newest);
  }

  // Gradient of the oldest position's normed input, times gain: each later position reads it through another tap.
  __device__ Values<T, N> dz(const Taps<T, N>& taps) const {
    Values<T, N> sum{};
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
      if ((masks[kHalo - j] >> j & 1u) == 0) continue;
      for (int i = 0; i < N; ++i) sum.at[i] += taps.at[j][i] * dout[kHalo - j].at[i];
    }
    return sum;
  }

  // Adds the newest position's part of what parameters_kernel wants.
  __device__ void add_to(Values<T, N> (&sums)[kTaps]) const {
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
      if ((masks[kHalo] >> j & 1u) == 0) continue;
      for (int i = 0; i < N; ++i) sums[j].at[i] += dout[kHalo].at[i] * normed[j].at[i];
    }
  }
};

// Positions of a class one after the other, from a step on.
template <class T>
struct Reader {
  int64_t next, stride, statistic, statistic_stride;
  int step, begin, end;

  __device__ Reader(const ShortConvBackward<T>& a, const Stretch& s)
      : stride(a.dilation * a.v.size(2)),
        statistic_stride(a.dilation),
        step(s.begin - kHalo),
        begin(s.begin),
        end(min(s.end + kHalo, s.real_end)) {
    statistic = s.sequence * a.v.size(1) + s.residue + int64_t{step} * a.dilation;
    next = statistic * a.v.size(2) + int64_t{threadIdx.x} * N;
    if (int64_t{threadIdx.x} * N >= a.v.size(2)) end = 0;
  }
  __device__ Position<T> operator()(const ShortConvBackward<T>& a) {
    Position<T> position;
    if (step >= 0 && step < end) {
      position.v = load_raw<T, N>(a.v.data + next);
      if (step >= begin) position.dy = load_raw<T, N>(a.dy.data + next);
      position.inv_rms = a.inv_rms.data[statistic];
    }
    next += stride;
    statistic += statistic_stride;
    ++step;
    return position;
  }
};

// partial [blocks, taps, channels]: the block's sums. A stretch is left kHalo steps behind its end, because dz of a
// position comes from later ones.
template <class T>
__global__ void __launch_bounds__(kMaxThreads)
    backward_kernel(ShortConvBackward<T> a, const int64_t* first, Accumulator<T>* partial) {
  using Acc = Accumulator<T>;
  __shared__ Acc places[2][kWarpSize];
  BlockSum<Acc> block_total{places};
  const Taps<T, N> taps(a);
  Values<T, N> sums[kTaps] = {};
  const int64_t width = a.v.size(2), channel = int64_t{threadIdx.x} * N;
  const bool inside = channel < width;
  const Acc mean = 1 / Acc(width);
  for_each_stretch(a, [&](const Stretch& s) {
    Reader<T> reader(a, s);
    Position<T> ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ahead[i] = reader(a);
    History<T> history;
    int64_t oldest =
        (s.sequence * a.v.size(1) + s.residue + int64_t{s.begin - 2 * kHalo} * a.dilation) * width + channel;
    for (int step = s.begin - kHalo; step < s.end + kHalo; ++step, oldest += reader.stride) {
      const bool counts = step >= s.begin && step < s.real_end;
      history.advance(ahead[0], counts ? readable_taps(a, first, s, step) : 0u, taps);
#pragma unroll
      for (int i = 0; i + 1 < kAhead; ++i) ahead[i] = ahead[i + 1];
      ahead[kAhead - 1] = reader(a);
      if (step < s.end) history.add_to(sums);
      if (step < s.begin + kHalo || step - kHalo >= s.real_end) continue;
      const Values<T, N> dz = history.dz(taps), normed = history.normed[0];
      Acc dot = 0;
      for (int i = 0; i < N; ++i) dot += dz.at[i] * normed.at[i];
      const Acc along = block_total(dot) * mean;
      Values<T, N> dv = unpack<T, N>(history.dy[0]);
      for (int i = 0; i < N; ++i) dv.at[i] += history.inv_rms[0] * (dz.at[i] - normed.at[i] * along);
      if (inside) store<T, N>(a.dv.data + oldest, dv);
    }
  });
  if (!inside) return;
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    store<Acc, N>(partial + (int64_t{blockIdx.x} * kTaps + j) * width + channel,
                  std::bit_cast<Values<Acc, N>>(sums[j]));
  }
}

// See dparameters_kernel in short_conv_cuda.cu.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes)
    parameters_kernel(ShortConvBackward<T> a, const Accumulator<T>* partial, int64_t num_partials) {
  using Acc = Accumulator<T>;
  const int64_t channel = block_column(), width = a.v.size(2);
  const bool inside = channel < width, writes = inside && threadIdx.y == 0;
  Acc dgain = 0;
  for (int64_t j = 0; j < kTaps; ++j) {
    const Acc sum = column_sum<Acc>(inside ? num_partials : 0,
                                    [&](int64_t part) { return partial[(part * kTaps + j) * width + channel]; });
    if (!writes) continue;
    a.dweight(channel, j) += Acc(a.gain.data[channel]) * sum;
    dgain += Acc(a.weight(channel, j)) * sum;
  }
  if (writes) a.dgain.data[channel] += dgain;
}

template <class T>
bool walk_backward(CudaQueue& queue, const ShortConvBackward<T>& a, const int64_t* first, int64_t used) {
  if (!fits<N>(a, a.v.data, a.dy.data, a.dv.data)) return false;
  const int64_t width = a.v.size(2);
  const unsigned num_blocks = blocks_at_once<N>(backward_kernel<T>, a);
  auto* partial = scratch<Accumulator<T>>(queue, int64_t{num_blocks} * kTaps * width, used);
  backward_kernel<T><<<num_blocks, threads_for<N>(width), 0, queue.handle>>>(a, first, partial);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  launch_columns(queue, parameters_kernel<T>, width, a, static_cast<const Accumulator<T>*>(partial),
                 int64_t{num_blocks});
  return true;
}

}  // namespace

bool run_walk(CudaQueue& queue, const ShortConvBackward<bfloat16>& a, const int64_t* first, int64_t used) {
  return walk_backward(queue, a, first, used);
}
bool run_walk(CudaQueue& queue, const ShortConvBackward<float>& a, const int64_t* first, int64_t used) {
  return walk_backward(queue, a, first, used);
}

}  // namespace engram
