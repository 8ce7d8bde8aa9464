#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/engram_gate_held.cuh"
#include "kernels/cuda/held_rows.cuh"
#include "kernels/cuda/math.cuh"

namespace engram {
namespace {

// One warp a row, here and below.
template <class T, int kHeld>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) held_forward_kernel(EngramGateForward<T> a) {
  using Acc = Accumulator<T>;
  using Row = HeldRow<T, kHeld>;
  const int64_t row = warp_row(), width = a.h.size(2);
  if (row >= a.h.size(0)) return;
  const bool dead = is_dead(a.dead, row);
  Acc inv_q = 0, inv_k = 0, score = 0, alpha = 0;
  Row value{};
  if (!dead) {
    Row h, key;
    h.load(a.h.row(row), width);
    key.load(a.kv.row(row), width);
    value.load(a.kv.row(row) + width, width);
    Acc square_q = 0, square_k = 0, dot = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (Row::column(i) >= width) continue;
      const auto q = h.values(i), k = key.values(i);
      const auto gain_q = load<T, Row::kPer>(a.gain_q.data + Row::column(i));
      const auto gain_k = load<T, Row::kPer>(a.gain_k.data + Row::column(i));
      for (int j = 0; j < Row::kPer; ++j) {
        square_q += q.at[j] * q.at[j];
        square_k += k.at[j] * k.at[j];
        dot += q.at[j] * gain_q.at[j] * (k.at[j] * gain_k.at[j]);
      }
    }
    inv_q = 1 / sqrt(warp_sum(square_q) / Acc(width) + a.eps);
    inv_k = 1 / sqrt(warp_sum(square_k) / Acc(width) + a.eps);
    score = warp_sum(dot) * inv_q * inv_k / sqrt(Acc(width));
    alpha = sigmoid(gate_argument(score, a.form, a.sign));
  }
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (Row::column(i) >= width) continue;
    auto gated = value.values(i);
    for (int j = 0; j < Row::kPer; ++j) gated.at[j] *= alpha;
    store<T, Row::kPer>(a.gated.row(row) + Row::column(i), gated);
  }
  if (threadIdx.x != 0) return;
  a.score(row, 0) = score;
  a.alpha(row, 0) = alpha;
  a.inv_rms_q(row, 0) = inv_q;
  a.inv_rms_k(row, 0) = inv_k;
}

// What dh_kernel and dgain_kernel compute below. The block's part of the gains' common sum goes to partial[block, :].
template <class T, int kHeld>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock, kBlocksPerProcessor<kHeld>)
    held_backward_kernel(EngramGateBackward<T> a, Accumulator<T>* partial) {
  using Acc = Accumulator<T>;
  using Row = HeldRow<T, kHeld>;
  extern __shared__ char shared[];
  const int64_t width = a.h.size(2);
  Values<T, Row::kPer> sums[kHeld] = {};
  for (int64_t row = warp_row(); row < a.h.size(0); row += int64_t{gridDim.x} * kRowsPerBlock) {
    Row h{}, key{}, dgated{}, dpast{};
    Acc dalpha = 0;
    if (a.dpast.data != nullptr) dpast.load(a.dpast.row(row), width);
    if (!is_dead(a.dead, row)) {
      Row value;
      dgated.load(a.dgated.row(row), width);
      value.load(a.kv.row(row) + width, width);
      h.load(a.h.row(row), width);
      key.load(a.kv.row(row), width);
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const auto g = dgated.values(i), v = value.values(i);
        for (int j = 0; j < Row::kPer; ++j) dalpha += g.at[j] * v.at[j];
      }
    }
    const Acc inv_q = a.inv_rms_q(row, 0), inv_k = a.inv_rms_k(row, 0), alpha = a.alpha(row, 0);
    const Acc dscore = warp_sum(dalpha) * alpha * (1 - alpha) * gate_slope(a.score(row, 0), a.form);
    const Acc both = dscore * inv_q * inv_k / sqrt(Acc(width)), along = dscore * a.score(row, 0) / Acc(width);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int64_t c = Row::column(i);
      if (c >= width) continue;
      const auto q = h.values(i), k = key.values(i), gain_q = load<T, Row::kPer>(a.gain_q.data + c);
      const auto gain_k = load<T, Row::kPer>(a.gain_k.data + c);
      auto dh = dpast.values(i), dkey = q, dvalue = dgated.values(i);
      for (int j = 0; j < Row::kPer; ++j) {
        const Acc gain = both * gain_q.at[j] * gain_k.at[j];
        dh.at[j] += gain * k.at[j] - q.at[j] * (along * inv_q * inv_q);
        dkey.at[j] = gain * q.at[j] - k.at[j] * (along * inv_k * inv_k);
        dvalue.at[j] *= alpha;
        sums[i].at[j] += both * q.at[j] * k.at[j];
      }
      store<T, Row::kPer>(a.dh.row(row) + c, dh);
      store<T, Row::kPer>(a.dkv.row(row) + c, dkey);
      store<T, Row::kPer>(a.dkv.row(row) + width + c, dvalue);
    }
  }
  write_block_sums<T, kHeld>(sums, width, reinterpret_cast<Acc*>(shared), partial);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes)
    dgain_total_kernel(EngramGateBackward<T> a, const Accumulator<T>* partial, int64_t num_partials) {
  using Acc = Accumulator<T>;
  const int64_t column = block_column(), width = a.h.size(2);
  const bool inside = column < width;
  const Acc sum =
      column_sum<Acc>(inside ? num_partials : 0, [&](int64_t part) { return partial[part * width + column]; });
  if (!inside || threadIdx.y != 0) return;
  a.dgain_q.data[column] += sum * Acc(a.gain_k.data[column]);
  a.dgain_k.data[column] += sum * Acc(a.gain_q.data[column]);
}

}  // namespace

template <class T>
bool run_held(CudaQueue& queue, const EngramGateForward<T>& a) {
  if (a.h.size(1) != 1) return false;
  const auto launch_held = [&]<int kHeld>() { launch_rows(queue, held_forward_kernel<T, kHeld>, a.h.size(0), a); };
  return with_held_rows<T>(a.h.size(2), launch_held, a.h.data, a.kv.data, a.gain_q.data, a.gain_k.data, a.gated.data);
}

template <class T>
bool run_held(CudaQueue& queue, const EngramGateBackward<T>& a) {
  using Acc = Accumulator<T>;
  const int64_t num_rows = a.h.size(0), width = a.h.size(2);
  if (a.h.size(1) != 1) return false;
  const auto launch_held = [&]<int kHeld>() {
    const int64_t num_blocks = blocks_of_sums<kHeld>(num_rows);
    int64_t used = 0;
    Acc* partial = scratch<Acc>(queue, num_blocks * width, used);
    held_backward_kernel<T, kHeld><<<static_cast<unsigned>(num_blocks), dim3(kWarpSize, kRowsPerBlock),
                                     static_cast<size_t>(width) * sizeof(Acc), queue.handle>>>(a, partial);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
    launch_columns(queue, dgain_total_kernel<T>, width, a, static_cast<const Acc*>(partial), num_blocks);
  };
  return with_held_rows<T>(width, launch_held, a.h.data, a.kv.data, a.gain_q.data, a.gain_k.data, a.dgated.data,
                           a.dpast.data, a.dh.data, a.dkv.data);
}

template bool run_held(CudaQueue&, const EngramGateForward<bfloat16>&);
template bool run_held(CudaQueue&, const EngramGateForward<float>&);
template bool run_held(CudaQueue&, const EngramGateForward<double>&);
template bool run_held(CudaQueue&, const EngramGateBackward<bfloat16>&);
template bool run_held(CudaQueue&, const EngramGateBackward<float>&);
template bool run_held(CudaQueue&, const EngramGateBackward<double>&);

}  // namespace engram
