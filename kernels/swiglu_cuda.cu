#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/swiglu_impl.h"

namespace engram {
namespace {

constexpr int kAhead = 2;  // places of a row that a lane reads before it computes

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

// One warp a row, here and below.
template <class T, int N>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(SwigluForward<T> a) {
  const int64_t row = warp_row(), width = a.y.size(1);
  if (row >= a.y.size(0)) return;
  const T *gate = a.gate_up.row(row), *up = gate + width;
  T* y = a.y.row(row);
  const Accumulator<T> weight = weight_of<T>(a, row);
  constexpr int kStep = kWarpSize * N;
  for (int64_t begin = int64_t{threadIdx.x} * N; begin < width; begin += kAhead * kStep) {
    Raw<T, N> gates[kAhead], ups[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t c = begin + i * kStep;
      if (c >= width) continue;
      gates[i] = load_raw<T, N>(gate + c);
      ups[i] = load_raw<T, N>(up + c);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t c = begin + i * kStep;
      if (c < width) store<T, N>(y + c, gated<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), weight));
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
template <class T, int N>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) backward_kernel(SwigluBackward<T> a) {
  const int64_t row = warp_row(), width = a.dy.size(1);
  if (row >= a.dy.size(0)) return;
  const T *gate = a.gate_up.row(row), *up = gate + width, *dy = a.dy.row(row);
  T *dgate = a.dgate_up.row(row), *dup = dgate + width;
  const Accumulator<T> weight = weight_of<T>(a, row);
  Accumulator<T> dweight = 0;
  constexpr int kStep = kWarpSize * N;
  for (int64_t begin = int64_t{threadIdx.x} * N; begin < width; begin += kAhead * kStep) {
    Raw<T, N> gates[kAhead], ups[kAhead], dys[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t c = begin + i * kStep;
      if (c >= width) continue;
      gates[i] = load_raw<T, N>(gate + c);
      ups[i] = load_raw<T, N>(up + c);
      dys[i] = load_raw<T, N>(dy + c);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t c = begin + i * kStep;
      if (c >= width) continue;
      const auto d = differentiate<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), unpack<T, N>(dys[i]), weight);
      store<T, N>(dgate + c, d.gate);
      store<T, N>(dup + c, d.up);
      dweight += d.weight;
    }
  }
  if (a.dweight.data == nullptr) return;
  dweight = warp_sum(dweight);
  if (threadIdx.x == 0) a.dweight.data[a.choice(row)] = dweight;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SwigluForward<T>& a) {
  const int64_t row_bytes = a.y.size(1) * static_cast<int64_t>(sizeof(T));
  with_access<T>(in_chunks(row_bytes, a.gate_up.data, a.y.data),
                 [&]<int N>() { launch_rows(queue, forward_kernel<T, N>, a.y.size(0), a); });
}

template <class T>
void run(CudaQueue& queue, const SwigluBackward<T>& a) {
  const int64_t row_bytes = a.dy.size(1) * static_cast<int64_t>(sizeof(T));
  with_access<T>(in_chunks(row_bytes, a.gate_up.data, a.dy.data, a.dgate_up.data),
                 [&]<int N>() { launch_rows(queue, backward_kernel<T, N>, a.dy.size(0), a); });
}

template void run(CudaQueue&, const SwigluForward<bfloat16>&);
template void run(CudaQueue&, const SwigluForward<float>&);
template void run(CudaQueue&, const SwigluForward<double>&);
template void run(CudaQueue&, const SwigluBackward<bfloat16>&);
template void run(CudaQueue&, const SwigluBackward<float>&);
template void run(CudaQueue&, const SwigluBackward<double>&);

}  // namespace engram
