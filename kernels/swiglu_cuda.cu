#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/swiglu_impl.h"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(SwigluForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), width = a.y.size(1);
  if (row >= a.y.size(0)) return;
  const T *gate = a.gate_up.row(row), *up = gate + width;
  T* y = a.y.row(row);
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    const Acc x = Acc(gate[c]);
    y[c] = T(x * sigmoid(x) * Acc(up[c]));
  }
}

// dgate_up may be gate_up: each thread reads both halves of its column before it writes them.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) backward_kernel(SwigluBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), width = a.dy.size(1);
  if (row >= a.dy.size(0)) return;
  const T *gate = a.gate_up.row(row), *up = gate + width, *dy = a.dy.row(row);
  T *dgate = a.dgate_up.row(row), *dup = dgate + width;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    const Acc x = Acc(gate[c]), u = Acc(up[c]), d = Acc(dy[c]), s = sigmoid(x);
    dgate[c] = T(d * u * s * (1 + x * (1 - s)));
    dup[c] = T(d * x * s);
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const SwigluForward<T>& a) {
  launch_rows(queue, forward_kernel<T>, a.y.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const SwigluBackward<T>& a) {
  launch_rows(queue, backward_kernel<T>, a.dy.size(0), a);
}

template void run(CudaQueue&, const SwigluForward<bfloat16>&);
template void run(CudaQueue&, const SwigluForward<float>&);
template void run(CudaQueue&, const SwigluForward<double>&);
template void run(CudaQueue&, const SwigluBackward<bfloat16>&);
template void run(CudaQueue&, const SwigluBackward<float>&);
template void run(CudaQueue&, const SwigluBackward<double>&);

}  // namespace engram
