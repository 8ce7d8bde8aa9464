#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/swiglu_impl.h"

namespace engram {
namespace {

// Places that a lane reads before it computes: of one row, or, where rows are narrow, the same place of as many rows.
constexpr int kAhead = 2;

// A lane's i-th place, which lies outside the matrix where it is past its end.
struct Place {
  int64_t row, column;
};
template <int N, bool kNarrow>
__device__ Place place(int i, int64_t begin) {
  if (kNarrow) return {warp_row() * kAhead + i, begin};
  return {warp_row(), begin + i * kWarpSize * N};
}

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

template <class T, int N, bool kNarrow>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(SwigluForward<T> a) {
  const int64_t num_rows = a.y.size(0), width = a.y.size(1);
  for (int64_t begin = int64_t{threadIdx.x} * N; begin < width; begin += kAhead * kWarpSize * N) {
    Raw<T, N> gates[kAhead], ups[kAhead];
    Accumulator<T> weights[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const auto [row, c] = place<N, kNarrow>(i, begin);
      if (row >= num_rows || c >= width) continue;
      gates[i] = load_raw<T, N>(a.gate_up.row(row) + c);
      ups[i] = load_raw<T, N>(a.gate_up.row(row) + width + c);
      weights[i] = weight_of<T>(a, row);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const auto [row, c] = place<N, kNarrow>(i, begin);
      if (row >= num_rows || c >= width) continue;
      store<T, N>(a.y.row(row) + c, gated<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), weights[i]));
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
template <class T, int N, bool kNarrow>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) backward_kernel(SwigluBackward<T> a) {
  const int64_t num_rows = a.dy.size(0), width = a.dy.size(1);
  Accumulator<T> dweights[kAhead] = {};
  for (int64_t begin = int64_t{threadIdx.x} * N; begin < width; begin += kAhead * kWarpSize * N) {
    Raw<T, N> gates[kAhead], ups[kAhead], dys[kAhead];
    Accumulator<T> weights[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const auto [row, c] = place<N, kNarrow>(i, begin);
      if (row >= num_rows || c >= width) continue;
      gates[i] = load_raw<T, N>(a.gate_up.row(row) + c);
      ups[i] = load_raw<T, N>(a.gate_up.row(row) + width + c);
      dys[i] = load_raw<T, N>(a.dy.row(row) + c);
      weights[i] = weight_of<T>(a, row);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const auto [row, c] = place<N, kNarrow>(i, begin);
      if (row >= num_rows || c >= width) continue;
      const auto d =
          differentiate<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), unpack<T, N>(dys[i]), weights[i]);
      store<T, N>(a.dgate_up.row(row) + c, d.gate);
      store<T, N>(a.dgate_up.row(row) + width + c, d.up);
      dweights[kNarrow ? i : 0] += d.weight;
    }
  }
  if (a.dweight.data == nullptr) return;
#pragma unroll
  for (int i = 0; i < (kNarrow ? kAhead : 1); ++i) {
    const int64_t row = place<N, kNarrow>(i, 0).row;
    const Accumulator<T> dweight = warp_sum(dweights[i]);
    if (threadIdx.x == 0 && row < num_rows) a.dweight.data[a.choice(row)] = dweight;
  }
}

// Calls fn.operator()<N, kNarrow>(number of warps) for rows of `width`.
template <class T, class Fn>
void with_form(bool chunks, int64_t num_rows, int64_t width, Fn&& fn) {
  with_access<T>(chunks, [&]<int N>() {
    if (width > kWarpSize * N) return fn.template operator()<N, false>(num_rows);
    fn.template operator()<N, true>((num_rows + kAhead - 1) / kAhead);
  });
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SwigluForward<T>& a) {
  const bool chunks = in_chunks(a.y.size(1) * static_cast<int64_t>(sizeof(T)), a.gate_up.data, a.y.data);
  with_form<T>(chunks, a.y.size(0), a.y.size(1), [&]<int N, bool kNarrow>(int64_t num_warps) {
    launch_rows(queue, forward_kernel<T, N, kNarrow>, num_warps, a);
  });
}

template <class T>
void run(CudaQueue& queue, const SwigluBackward<T>& a) {
  const bool chunks =
      in_chunks(a.dy.size(1) * static_cast<int64_t>(sizeof(T)), a.gate_up.data, a.dy.data, a.dgate_up.data);
  with_form<T>(chunks, a.dy.size(0), a.dy.size(1), [&]<int N, bool kNarrow>(int64_t num_warps) {
    launch_rows(queue, backward_kernel<T, N, kNarrow>, num_warps, a);
  });
}

template void run(CudaQueue&, const SwigluForward<bfloat16>&);
template void run(CudaQueue&, const SwigluForward<float>&);
template void run(CudaQueue&, const SwigluForward<double>&);
template void run(CudaQueue&, const SwigluBackward<bfloat16>&);
template void run(CudaQueue&, const SwigluBackward<float>&);
template void run(CudaQueue&, const SwigluBackward<double>&);

}  // namespace engram
