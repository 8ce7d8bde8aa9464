#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/held_rows.cuh"
#include "kernels/rms_norm_impl.h"

namespace engram {
namespace {

constexpr int kThreads = kWarpSize * kRowsPerBlock;

// One warp a row, which it reads once. The norm is that of the sum as it is stored.
template <class T, int kHeld>
__global__ void __launch_bounds__(kThreads) held_forward_kernel(RmsNormForward<T> a) {
  using Acc = Accumulator<T>;
  using Row = HeldRow<T, kHeld>;
  const int64_t row = warp_row(), width = a.x.size(1);
  if (row >= a.x.size(0)) return;
  Row x, delta, weight;
  x.load(a.x.row(row), width);
  if (a.delta.data != nullptr) delta.load(a.delta.row(row), width);
  weight.load(a.weight.data, width);
  Acc square = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    Values<T, Row::kPer> values = x.values(i);
    if (a.delta.data != nullptr) {
      const auto added = delta.values(i);
      for (int j = 0; j < Row::kPer; ++j) values.at[j] += added.at[j];
      x.at[i] = pack<T, Row::kPer>(values);
      values = x.values(i);
      if (Row::column(i) < width) store<T, Row::kPer>(a.sum.row(row) + Row::column(i), values);
    }
    for (int j = 0; j < Row::kPer; ++j) square += values.at[j] * values.at[j];
  }
  const Acc inv_rms = 1 / sqrt(warp_sum(square) / Acc(width) + a.eps);
  if (threadIdx.x == 0) a.inv_rms(row) = inv_rms;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (Row::column(i) >= width) continue;
    Values<T, Row::kPer> values = x.values(i);
    const auto gain = weight.values(i);
    for (int j = 0; j < Row::kPer; ++j) values.at[j] *= inv_rms * gain.at[j];
    store<T, Row::kPer>(a.y.row(row) + Row::column(i), values);
  }
}

// One warp a row at a time; the block writes its rows' part of dweight to partial[block, :]. dx may be dy or dsum: a
// lane has read what it overwrites.
template <class T, int kHeld>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<kHeld>)
    held_backward_kernel(RmsNormBackward<T> a, Accumulator<T>* partial) {
  using Acc = Accumulator<T>;
  using Row = HeldRow<T, kHeld>;
  extern __shared__ char shared[];
  const int64_t width = a.x.size(1);
  Values<T, Row::kPer> dweight[kHeld] = {};
  for (int64_t row = warp_row(); row < a.x.size(0); row += int64_t{gridDim.x} * kRowsPerBlock) {
    Row x, dy, weight, dsum;
    x.load(a.x.row(row), width);
    dy.load(a.dy.row(row), width);
    if (a.dsum.data != nullptr) dsum.load(a.dsum.row(row), width);
    weight.load(a.weight.data, width);
    const Acc inv_rms = a.inv_rms(row);
    Acc dot = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const auto of_x = x.values(i), of_dy = dy.values(i), gain = weight.values(i);
      for (int j = 0; j < Row::kPer; ++j) dot += of_dy.at[j] * gain.at[j] * of_x.at[j];
    }
    const Acc scale = warp_sum(dot) * inv_rms * inv_rms * inv_rms / Acc(width);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const auto of_x = x.values(i), of_dy = dy.values(i), gain = weight.values(i);
      Values<T, Row::kPer> dx{};
      if (a.dsum.data != nullptr) dx = dsum.values(i);
      for (int j = 0; j < Row::kPer; ++j) {
        dx.at[j] += inv_rms * of_dy.at[j] * gain.at[j] - of_x.at[j] * scale;
        dweight[i].at[j] += of_dy.at[j] * of_x.at[j] * inv_rms;
      }
      if (Row::column(i) < width) store<T, Row::kPer>(a.dx.row(row) + Row::column(i), dx);
    }
  }
  write_block_sums<T, kHeld>(dweight, width, reinterpret_cast<Acc*>(shared), partial);
}

// The forms for rows of any width.

template <class T>
__global__ void __launch_bounds__(kThreads) forward_kernel(RmsNormForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), width = a.x.size(1);
  if (row >= a.x.size(0)) return;
  const bool adds = a.delta.data != nullptr;
  const T* x = adds ? a.sum.row(row) : a.x.row(row);

  Acc sum = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    if (adds) a.sum(row, c) = T(Acc(a.x(row, c)) + Acc(a.delta(row, c)));
    sum += Acc(x[c]) * Acc(x[c]);
  }
  const Acc inv_rms = 1 / sqrt(warp_sum(sum) / Acc(width) + a.eps);

  if (threadIdx.x == 0) a.inv_rms(row) = inv_rms;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) a.y(row, c) = T(Acc(x[c]) * inv_rms * Acc(a.weight(c)));
}

template <class T>
__global__ void __launch_bounds__(kThreads) dx_kernel(RmsNormBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row(), width = a.x.size(1);
  if (row >= a.x.size(0)) return;

  Acc dot = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    dot += Acc(a.dy(row, c)) * Acc(a.weight(c)) * Acc(a.x(row, c));
  }
  const Acc inv_rms = a.inv_rms(row);
  const Acc scale = warp_sum(dot) * inv_rms * inv_rms * inv_rms / Acc(width);
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    const Acc past_norm = a.dsum.data == nullptr ? Acc(0) : Acc(a.dsum(row, c));
    a.dx(row, c) = T(inv_rms * Acc(a.dy(row, c)) * Acc(a.weight(c)) - Acc(a.x(row, c)) * scale + past_norm);
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kColumnLanes) dweight_kernel(RmsNormBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t column = block_column();
  const bool inside = column < a.x.size(1);
  const Acc sum = column_sum<Acc>(inside ? a.x.size(0) : 0, [&](int64_t row) {
    return Acc(a.dy(row, column)) * Acc(a.x(row, column)) * a.inv_rms(row);
  });
  if (inside && threadIdx.y == 0) a.dweight(column) += sum;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RmsNormForward<T>& a) {
  if (a.x.numel() == 0) return;
  const bool held = with_held_rows<T>(
      a.x.size(1), [&]<int kHeld>() { launch_rows(queue, held_forward_kernel<T, kHeld>, a.x.size(0), a); }, a.x.data,
      a.delta.data, a.weight.data, a.sum.data, a.y.data);
  if (!held) launch_rows(queue, forward_kernel<T>, a.x.size(0), a);
}

// The form for any width writes dweight first: dx may overwrite dy.
template <class T>
void run(CudaQueue& queue, const RmsNormBackward<T>& a) {
  using Acc = Accumulator<T>;
  const int64_t num_rows = a.x.size(0), width = a.x.size(1);
  if (a.x.numel() == 0) return;
  const auto launch_held = [&]<int kHeld>() {
    const int64_t num_blocks = blocks_of_sums<kHeld>(num_rows);
    int64_t used = 0;
    Acc* partial = scratch<Acc>(queue, num_blocks * width, used);
    const dim3 threads(kWarpSize, kRowsPerBlock);
    held_backward_kernel<T, kHeld>
        <<<static_cast<unsigned>(num_blocks), threads, static_cast<size_t>(width) * sizeof(Acc), queue.handle>>>(
            a, partial);
    ENGRAM_CUDA_CHECK(cudaGetLastError());
    add_column_sums(queue, partial, num_blocks, width, a.dweight.data);
  };
  if (with_held_rows<T>(width, launch_held, a.x.data, a.weight.data, a.dy.data, a.dsum.data, a.dx.data)) return;
  launch_columns(queue, dweight_kernel<T>, width, a);
  launch_rows(queue, dx_kernel<T>, num_rows, a);
}

template void run(CudaQueue&, const RmsNormForward<bfloat16>&);
template void run(CudaQueue&, const RmsNormForward<float>&);
template void run(CudaQueue&, const RmsNormForward<double>&);
template void run(CudaQueue&, const RmsNormBackward<bfloat16>&);
template void run(CudaQueue&, const RmsNormBackward<float>&);
template void run(CudaQueue&, const RmsNormBackward<double>&);

}  // namespace engram
