#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/swiglu_impl.h"

namespace engram {
namespace {

// Rows of `width` among warps: `lanes` neighbouring threads have a row, of which each reads kAhead places before it
// computes. Narrow rows have fewer threads, so that each has work and enough is on its way. From the last row on: see
// warp_row_from_end().
struct RowShare {
  int lanes;

  // Negative behind the first row.
  __device__ int64_t row(int64_t num_rows) const {
    return num_rows - 1 - (warp_row() * (kWarpSize / lanes) + static_cast<int>(threadIdx.x) / lanes);
  }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % lanes; }
};

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

template <class T, int N, int kAhead>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(SwigluForward<T> a, RowShare share) {
  const int64_t row = share.row(a.y.size(0));
  if (row < 0) return;
  const int width = static_cast<int>(a.y.size(1)), step = share.lanes * N;
  const T* gate_up = a.gate_up.row(row);
  const Accumulator<T> weight = weight_of<T>(a, row);
  for (int begin = share.lane() * N; begin < width; begin += kAhead * step) {
    Raw<T, N> gates[kAhead], ups[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int c = begin + i * step;
      if (c >= width) continue;
      gates[i] = load_raw<T, N>(gate_up + c);
      ups[i] = load_raw<T, N>(gate_up + width + c);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int c = begin + i * step;
      if (c >= width) continue;
      store<T, N>(a.y.row(row) + c, gated<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), weight));
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
template <class T, int N, int kAhead>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) backward_kernel(SwigluBackward<T> a, RowShare share) {
  const int64_t row = share.row(a.dy.size(0));
  const bool inside = row >= 0;
  const int width = inside ? static_cast<int>(a.dy.size(1)) : 0, step = share.lanes * N;
  const T *gate_up = a.gate_up.row(row), *dy = a.dy.row(row);
  T* dgate_up = a.dgate_up.row(row);
  const Accumulator<T> weight = inside ? weight_of<T>(a, row) : Accumulator<T>(0);
  Accumulator<T> dweight = 0;
  for (int begin = share.lane() * N; begin < width; begin += kAhead * step) {
    Raw<T, N> gates[kAhead], ups[kAhead], dys[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int c = begin + i * step;
      if (c >= width) continue;
      gates[i] = load_raw<T, N>(gate_up + c);
      ups[i] = load_raw<T, N>(gate_up + width + c);
      dys[i] = load_raw<T, N>(dy + c);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int c = begin + i * step;
      if (c >= width) continue;
      const auto d = differentiate<T, N>(unpack<T, N>(gates[i]), unpack<T, N>(ups[i]), unpack<T, N>(dys[i]), weight);
      store<T, N>(dgate_up + c, d.gate);
      store<T, N>(dgate_up + width + c, d.up);
      dweight += d.weight;
    }
  }
  if (a.dweight.data == nullptr) return;
  for (int offset = share.lanes / 2; offset > 0; offset /= 2) dweight += __shfl_xor_sync(0xffffffffu, dweight, offset);
  if (inside && share.lane() == 0) a.dweight.data[a.choice(row)] = dweight;
}

// Calls fn.operator()<N, kAhead>(share, number of warps) for rows of `width`.
template <class T, class Fn>
void with_form(bool chunks, int64_t num_rows, int64_t width, Fn&& fn) {
  ENGRAM_CHECK(width < int64_t{1} << 28, "swiglu: rows of ", width, " elements; wanted fewer than 2^28");
  with_access<T>(chunks, [&]<int N>() {
    int lanes = 8;  // a whole cache line of bfloat16
    while (lanes < kWarpSize && 3 * lanes * N < width) lanes *= 2;
    const int64_t num_warps = blocks_for(num_rows, kWarpSize / lanes);
    const bool two = width <= 2 * lanes * N || width > 3 * lanes * N;
    two ? fn.template operator()<N, 2>(RowShare{lanes}, num_warps)
        : fn.template operator()<N, 3>(RowShare{lanes}, num_warps);
  });
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SwigluForward<T>& a) {
  const bool chunks = in_chunks(a.y.size(1) * static_cast<int64_t>(sizeof(T)), a.gate_up.data, a.y.data);
  with_form<T>(chunks, a.y.size(0), a.y.size(1), [&]<int N, int kAhead>(const RowShare& share, int64_t num_warps) {
    launch_rows(queue, forward_kernel<T, N, kAhead>, num_warps, a, share);
  });
}

template <class T>
void run(CudaQueue& queue, const SwigluBackward<T>& a) {
  const bool chunks =
      in_chunks(a.dy.size(1) * static_cast<int64_t>(sizeof(T)), a.gate_up.data, a.dy.data, a.dgate_up.data);
  with_form<T>(chunks, a.dy.size(0), a.dy.size(1), [&]<int N, int kAhead>(const RowShare& share, int64_t num_warps) {
    launch_rows(queue, backward_kernel<T, N, kAhead>, num_warps, a, share);
  });
}

template void run(CudaQueue&, const SwigluForward<bfloat16>&);
template void run(CudaQueue&, const SwigluForward<float>&);
template void run(CudaQueue&, const SwigluForward<double>&);
template void run(CudaQueue&, const SwigluBackward<bfloat16>&);
template void run(CudaQueue&, const SwigluBackward<float>&);
template void run(CudaQueue&, const SwigluBackward<double>&);

}  // namespace engram
