#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/engram_gate_held.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/rows.cuh"

namespace engram {
namespace {

// One warp a stream of a row.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(EngramGateForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t streams = a.h.size(1), width = a.h.size(2), row = warp_row() / streams, m = warp_row() % streams;
  if (row >= a.h.size(0)) return;
  T* gated = a.gated.row(row) + m * width;
  if (is_dead(a.dead, row)) {
    if (threadIdx.x == 0) a.score(row, m) = a.alpha(row, m) = a.inv_rms_q(row, m) = a.inv_rms_k(row, m) = 0;
    for (int64_t c = threadIdx.x; c < width; c += kWarpSize) gated[c] = T(Acc(0));
    return;
  }
  const T *h = a.h.row(row) + m * width, *key = a.kv.row(row) + m * width, *value = a.kv.row(row) + streams * width;
  const T *gain_q = a.gain_q.row(m), *gain_k = a.gain_k.row(m);
  Acc square_q = 0, square_k = 0, dot = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    const Acc q = Acc(h[c]), k = Acc(key[c]);
    square_q += q * q;
    square_k += k * k;
    dot += q * Acc(gain_q[c]) * (k * Acc(gain_k[c]));
  }
  const Acc inv_q = 1 / sqrt(warp_sum(square_q) / Acc(width) + a.eps);
  const Acc inv_k = 1 / sqrt(warp_sum(square_k) / Acc(width) + a.eps);
  const Acc score = warp_sum(dot) * inv_q * inv_k / sqrt(Acc(width));
  const Acc alpha = sigmoid(gate_argument(score, a.form, a.sign));
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) gated[c] = T(alpha * Acc(value[c]));
  if (threadIdx.x == 0) {
    a.score(row, m) = score;
    a.alpha(row, m) = alpha;
    a.inv_rms_q(row, m) = inv_q;
    a.inv_rms_k(row, m) = inv_k;
  }
}

// dscore [num_rows, streams], 0 in dead rows. One warp a stream of a row.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    dscore_kernel(EngramGateBackward<T> a, View<Accumulator<T>, 2> dscore) {
  using Acc = Accumulator<T>;
  const int64_t streams = a.h.size(1), width = a.h.size(2), row = warp_row() / streams, m = warp_row() % streams;
  if (row >= a.h.size(0)) return;
  Acc dalpha = 0;
  if (!is_dead(a.dead, row)) {
    const T *dgated = a.dgated.row(row) + m * width, *value = a.kv.row(row) + streams * width;
    for (int64_t c = threadIdx.x; c < width; c += kWarpSize) dalpha += Acc(dgated[c]) * Acc(value[c]);
  }
  dalpha = warp_sum(dalpha);
  const Acc alpha = a.alpha(row, m);
  if (threadIdx.x == 0) dscore(row, m) = dalpha * alpha * (1 - alpha) * gate_slope(a.score(row, m), a.form);
}

// Both gains of a column have the same sum over rows, each times the other gain.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes)
    dgain_kernel(EngramGateBackward<T> a, View<const Accumulator<T>, 2> dscore) {
  using Acc = Accumulator<T>;
  const int64_t width = a.h.size(2), column = block_column(), m = column / width;
  const bool inside = column < a.dgain_q.numel();
  Acc sum = column_sum<Acc>(inside ? a.h.size(0) : 0, [&](int64_t row) -> Acc {
    if (is_dead(a.dead, row)) return 0;
    const Acc both = dscore(row, m) * a.inv_rms_q(row, m) * a.inv_rms_k(row, m);
    return both * Acc(a.h.row(row)[column]) * Acc(a.kv(row, column));
  });
  if (!inside || threadIdx.y != 0) return;
  sum /= sqrt(Acc(width));
  a.dgain_q.data[column] += sum * Acc(a.gain_k.data[column]);
  a.dgain_k.data[column] += sum * Acc(a.gain_q.data[column]);
}

// One warp a row. dh may be dgated or dpast: each thread reads both of a column, in all streams, before it writes any.
// With b = dscore * rq * rk / sqrt(width): dh = b * gq * gk * key - h * dscore * s * rq^2 / width, and the same for
// key.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    dh_kernel(EngramGateBackward<T> a, View<const Accumulator<T>, 2> dscore) {
  using Acc = Accumulator<T>;
  const int64_t streams = a.h.size(1), width = a.h.size(2), row = warp_row();
  if (row >= a.h.size(0)) return;
  const T *h = a.h.row(row), *kv = a.kv.row(row), *dgated = a.dgated.row(row);
  const T* dpast = a.dpast.data == nullptr ? nullptr : a.dpast.row(row);
  T *dh = a.dh.row(row), *dkv = a.dkv.row(row);
  if (is_dead(a.dead, row)) {
    for (int64_t c = threadIdx.x; c < streams * width; c += kWarpSize) dh[c] = dpast == nullptr ? T(Acc(0)) : dpast[c];
    for (int64_t c = threadIdx.x; c < (streams + 1) * width; c += kWarpSize) dkv[c] = T(Acc(0));
    return;
  }
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    Acc dvalue = 0;
    for (int64_t m = 0; m < streams; ++m) dvalue += a.alpha(row, m) * Acc(dgated[m * width + c]);
    dkv[streams * width + c] = T(dvalue);
    for (int64_t m = 0; m < streams; ++m) {
      const int64_t at = m * width + c;
      const Acc inv_q = a.inv_rms_q(row, m), inv_k = a.inv_rms_k(row, m), q = Acc(h[at]), k = Acc(kv[at]);
      const Acc both = dscore(row, m) * inv_q * inv_k / sqrt(Acc(width)), along = dscore(row, m) * a.score(row, m);
      const Acc gain = both * Acc(a.gain_q(m, c)) * Acc(a.gain_k(m, c));
      const Acc past = dpast == nullptr ? Acc(0) : Acc(dpast[at]);
      dh[at] = T(gain * k - q * (along * inv_q * inv_q / Acc(width)) + past);
      dkv[at] = T(gain * q - k * (along * inv_k * inv_k / Acc(width)));
    }
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const EngramGateForward<T>& a) {
  const int64_t num_rows = a.h.size(0), streams = a.h.size(1);
  if (run_held(queue, a)) return;
  launch_rows(queue, forward_kernel<T>, num_rows * streams, a);
}

// dh last: it may overwrite dgated.
template <class T>
void run(CudaQueue& queue, const EngramGateBackward<T>& a) {
  using Acc = Accumulator<T>;
  const int64_t num_rows = a.h.size(0), streams = a.h.size(1);
  if (num_rows == 0 || run_held(queue, a)) return;
  int64_t used = 0;
  Acc* memory = scratch<Acc>(queue, num_rows * streams, used);
  launch_rows(queue, dscore_kernel<T>, num_rows * streams, a, View<Acc, 2>{memory, {num_rows, streams}});
  const View<const Acc, 2> dscore{memory, {num_rows, streams}};
  launch_columns(queue, dgain_kernel<T>, a.dgain_q.numel(), a, dscore);
  launch_rows(queue, dh_kernel<T>, num_rows, a, dscore);
}

template void run(CudaQueue&, const EngramGateForward<bfloat16>&);
template void run(CudaQueue&, const EngramGateForward<float>&);
template void run(CudaQueue&, const EngramGateForward<double>&);
template void run(CudaQueue&, const EngramGateBackward<bfloat16>&);
template void run(CudaQueue&, const EngramGateBackward<float>&);
template void run(CudaQueue&, const EngramGateBackward<double>&);

}  // namespace engram
