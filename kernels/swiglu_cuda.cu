#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/swiglu_impl.h"

namespace engram {
namespace {

// A warp has kRows rows side by side, of which each lane reads kAhead places before it computes; two rows where they
// are narrow, so that enough is on its way.

template <class T, class Args>
__device__ Accumulator<T> weight_of(const Args& a, int64_t row) {
  return a.weight.data == nullptr ? Accumulator<T>(1) : a.weight.data[a.choice(row)];
}

template <class T, int N>
__device__ Values<T, N> gated(const Values<T, N>& gate, const Values<T, N>& up, Accumulator<T> weight) {
  Values<T, N> y;
#pragma unroll
  for (int j = 0; j < N; ++j) y.at[j] = gate.at[j] * sigmoid_for<T>(gate.at[j]) * up.at[j] * weight;
  return y;
}

template <class T, int N, int kRows, int kAhead>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(SwigluForward<T> a) {
  const int64_t first = warp_row() * kRows;
  if (first >= a.y.size(0)) return;
  const int width = static_cast<int>(a.y.size(1)),
            num_rows = static_cast<int>(min(a.y.size(0) - first, int64_t{kRows}));
  const T* gate_up = a.gate_up.row(first);
  T* y = a.y.row(first);
  Accumulator<T> weights[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) weights[r] = r < num_rows ? weight_of<T>(a, first + r) : Accumulator<T>(0);
  for (int begin = static_cast<int>(threadIdx.x) * N; begin < num_rows * width; begin += kAhead * kWarpSize * N) {
    Raw<T, N> gates[kAhead], ups[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kWarpSize * N, r = kRows == 2 && at >= width;
      if (at >= num_rows * width) continue;
      gates[i] = load_raw<T, N>(gate_up + at + r * width);
      ups[i] = load_raw<T, N>(gate_up + at + r * width + width);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kWarpSize * N;
      if (at >= num_rows * width) continue;
      const Accumulator<T> weight = kRows == 2 && at >= width ? weights[kRows - 1] : weights[0];
      store<T, N>(y + at, gated<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), weight));
    }
  }
}

template <class T, int N>
struct Gradients {
  Values<T, N> gate, up;
  Accumulator<T> weight = 0;
};

// dy is without the weight.
template <class T, int N>
__device__ Gradients<T, N> differentiate(const Values<T, N>& gate, const Values<T, N>& up, const Values<T, N>& dy,
                                         Accumulator<T> weight) {
  using Acc = Accumulator<T>;
  Gradients<T, N> d;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const Acc x = gate.at[j], u = up.at[j], s = sigmoid_for<T>(x), silu = x * s, weighted = dy.at[j] * weight;
    d.weight += dy.at[j] * u * silu;
    d.gate.at[j] = weighted * u * (s + silu * (1 - s));
    d.up.at[j] = weighted * silu;
  }
  return d;
}

// dgate_up may be gate_up: each thread reads both halves of its columns before it writes them.
template <class T, int N, int kRows, int kAhead>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) backward_kernel(SwigluBackward<T> a) {
  const int64_t first = warp_row() * kRows;
  if (first >= a.dy.size(0)) return;
  const int width = static_cast<int>(a.dy.size(1)),
            num_rows = static_cast<int>(min(a.dy.size(0) - first, int64_t{kRows}));
  const T *gate_up = a.gate_up.row(first), *dy = a.dy.row(first);
  T* dgate_up = a.dgate_up.row(first);
  Accumulator<T> weights[kRows], dweights[kRows] = {};
#pragma unroll
  for (int r = 0; r < kRows; ++r) weights[r] = r < num_rows ? weight_of<T>(a, first + r) : Accumulator<T>(0);
  for (int begin = static_cast<int>(threadIdx.x) * N; begin < num_rows * width; begin += kAhead * kWarpSize * N) {
    Raw<T, N> gates[kAhead], ups[kAhead], dys[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kWarpSize * N, r = kRows == 2 && at >= width;
      if (at >= num_rows * width) continue;
      gates[i] = load_raw<T, N>(gate_up + at + r * width);
      ups[i] = load_raw<T, N>(gate_up + at + r * width + width);
      dys[i] = load_raw<T, N>(dy + at);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kWarpSize * N, r = kRows == 2 && at >= width;
      if (at >= num_rows * width) continue;
      const auto d = differentiate<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), unpack<T, N>(dys[i]),
                                         r == 0 ? weights[0] : weights[kRows - 1]);
      store<T, N>(dgate_up + at + r * width, d.gate);
      store<T, N>(dgate_up + at + r * width + width, d.up);
      dweights[0] += r == 0 ? d.weight : Accumulator<T>(0);
      if (kRows == 2) dweights[kRows - 1] += r == 0 ? Accumulator<T>(0) : d.weight;
    }
  }
  if (a.dweight.data == nullptr) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const Accumulator<T> dweight = warp_sum(dweights[r]);
    if (threadIdx.x == 0 && r < num_rows) a.dweight.data[a.choice(first + r)] = dweight;
  }
}

// Calls fn.operator()<N, kRows, kAhead>(number of warps) for rows of `width`.
template <class T, class Fn>
void with_form(bool chunks, int64_t num_rows, int64_t width, Fn&& fn) {
  ENGRAM_CHECK(width < int64_t{1} << 28, "swiglu: rows of ", width, " elements; wanted fewer than 2^28");
  with_access<T>(chunks, [&]<int N>() {
    const int64_t places = 2 * width, step = kWarpSize * N;
    if (places <= 2 * step) return fn.template operator()<N, 2, 2>((num_rows + 1) / 2);
    if (places <= 3 * step) return fn.template operator()<N, 2, 3>((num_rows + 1) / 2);
    fn.template operator()<N, 1, 2>(num_rows);
  });
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SwigluForward<T>& a) {
  const bool chunks = in_chunks(a.y.size(1) * static_cast<int64_t>(sizeof(T)), a.gate_up.data, a.y.data);
  with_form<T>(chunks, a.y.size(0), a.y.size(1), [&]<int N, int kRows, int kAhead>(int64_t num_warps) {
    launch_rows(queue, forward_kernel<T, N, kRows, kAhead>, num_warps, a);
  });
}

template <class T>
void run(CudaQueue& queue, const SwigluBackward<T>& a) {
  const bool chunks =
      in_chunks(a.dy.size(1) * static_cast<int64_t>(sizeof(T)), a.gate_up.data, a.dy.data, a.dgate_up.data);
  with_form<T>(chunks, a.dy.size(0), a.dy.size(1), [&]<int N, int kRows, int kAhead>(int64_t num_warps) {
    launch_rows(queue, backward_kernel<T, N, kRows, kAhead>, num_warps, a);
  });
}

template void run(CudaQueue&, const SwigluForward<bfloat16>&);
template void run(CudaQueue&, const SwigluForward<float>&);
template void run(CudaQueue&, const SwigluForward<double>&);
template void run(CudaQueue&, const SwigluBackward<bfloat16>&);
template void run(CudaQueue&, const SwigluBackward<float>&);
template void run(CudaQueue&, const SwigluBackward<double>&);

}  // namespace engram
