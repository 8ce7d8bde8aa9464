#include <algorithm>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/held_rows.cuh"
#include "kernels/rms_norm_impl.h"

namespace engram {
namespace {

constexpr int kThreads = kWarpSize * kRowsPerBlock;

// One warp a row, which it reads once, from the last row on. The norm is that of the sum as it is stored.
template <class T, int kHeld>
__global__ void __launch_bounds__(kThreads) held_forward_kernel(RmsNormForward<T> a) {
  using Acc = Accumulator<T>;
  using Row = HeldRow<T, kHeld>;
  const int64_t row = warp_row_from_end(a.x.size(0)), width = a.x.size(1);
  if (row < 0) return;
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

constexpr int kAtOnce = 2;  // rows on their way to a thread of the next kernel

// Its blocks at most, on any device: the order of the sums depends on it. Three for each multiprocessor of an H200.
constexpr int64_t kMaxBlocks = 396;

// For rows of at most kBlockSize chunks. Threads with the same threadIdx.y share rows; each has one chunk of columns,
// whose weight and part of dweight stay in its registers, and writes what it overwrites itself: dx may be dy or dsum.
// The block writes its rows' part of dweight to partial[block, :]. From the last row on, as the forward kernel.
template <class T>
__global__ void __launch_bounds__(kBlockSize, 3) column_backward_kernel(RmsNormBackward<T> a, Accumulator<T>* partial) {
  using Acc = Accumulator<T>;
  constexpr int N = kPerChunk<T>, kWarps = kBlockSize / kWarpSize;
  extern __shared__ char shared[];
  __shared__ Acc of_warp[2][kAtOnce][kWarps];  // dots; one set is read while the next is written
  const int64_t num_rows = a.x.size(0), width = a.x.size(1), column = int64_t{threadIdx.x} * N;
  const int warps_each = static_cast<int>(blockDim.x) / kWarpSize,
            first_warp = static_cast<int>(threadIdx.y) * warps_each;
  const Acc of_width = 1 / Acc(width);
  Chunk weight{};
  if (column < width) weight = load_raw<T, N>(a.weight.data + column);
  Values<T, N> dweight{};
  int turn = 0;
  const int64_t num_at_once = int64_t{blockDim.y} * kAtOnce;
  const auto row_of = [&](int64_t first, int i) { return num_rows - 1 - (first + i * blockDim.y + threadIdx.y); };
  for (int64_t first = blockIdx.x * num_at_once; first < num_rows; first += gridDim.x * num_at_once, turn ^= 1) {
    Chunk x[kAtOnce] = {}, dy[kAtOnce] = {}, dsum[kAtOnce] = {};
    Acc inv_rms[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t row = row_of(first, i);
      if (row < 0 || column >= width) continue;
      x[i] = load_raw<T, N>(a.x.row(row) + column);
      dy[i] = load_raw<T, N>(a.dy.row(row) + column);
      if (a.dsum.data != nullptr) dsum[i] = load_raw<T, N>(a.dsum.row(row) + column);
      inv_rms[i] = a.inv_rms(row);
    }
    const auto gain = unpack<T, N>(weight);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const auto of_x = unpack<T, N>(x[i]), of_dy = unpack<T, N>(dy[i]);
      Acc dot = 0;
      for (int j = 0; j < N; ++j) dot += of_dy.at[j] * gain.at[j] * of_x.at[j];
      dot = warp_sum(dot);
      if (threadIdx.x % kWarpSize == 0) of_warp[turn][i][first_warp + threadIdx.x / kWarpSize] = dot;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t row = row_of(first, i);
      if (row < 0 || column >= width) continue;
      Acc dot = 0;
#pragma unroll
      for (int warp = 0; warp < kWarps; ++warp) dot += warp < warps_each ? of_warp[turn][i][first_warp + warp] : Acc(0);
      const Acc scale = dot * inv_rms[i] * inv_rms[i] * inv_rms[i] * of_width;
      const auto of_x = unpack<T, N>(x[i]), of_dy = unpack<T, N>(dy[i]);
      auto dx = unpack<T, N>(dsum[i]);
      for (int j = 0; j < N; ++j) {
        const Acc scaled = inv_rms[i] * of_dy.at[j];
        dx.at[j] += scaled * gain.at[j] - of_x.at[j] * scale;
        dweight.at[j] += scaled * of_x.at[j];
      }
      store<T, N>(a.dx.row(row) + column, dx);
    }
  }
  Acc* sum = reinterpret_cast<Acc*>(shared) + column;
  for (int y = 0; y < static_cast<int>(blockDim.y); ++y) {
    if (static_cast<int>(threadIdx.y) == y && column < width) {
      for (int j = 0; j < N; ++j) sum[j] = y == 0 ? dweight.at[j] : sum[j] + dweight.at[j];
    }
    __syncthreads();
  }
  if (threadIdx.y != 0 || column >= width) return;
  for (int j = 0; j < N; ++j) partial[blockIdx.x * width + column + j] = sum[j];
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

// False, and nothing done, where rows are no whole chunks or too many.
template <class T>
bool ran_by_columns(CudaQueue& queue, const RmsNormBackward<T>& a) {
  const int64_t width = a.x.size(1), threads_each = blocks_for(width, kPerChunk<T> * kWarpSize) * int64_t{kWarpSize};
  const bool chunks =
      in_chunks(width * static_cast<int64_t>(sizeof(T)), a.x.data, a.weight.data, a.dy.data, a.dsum.data, a.dx.data);
  if (!chunks || threads_each > kBlockSize) return false;
  const dim3 threads(static_cast<unsigned>(threads_each), static_cast<unsigned>(kBlockSize / threads_each));
  const int64_t num_blocks = std::min<int64_t>(blocks_for(a.x.size(0), threads.y * kAtOnce), kMaxBlocks);
  const auto num_bytes = static_cast<size_t>(width) * sizeof(Accumulator<T>);
  int64_t used = 0;
  auto* partial = scratch<Accumulator<T>>(queue, num_blocks * width, used);
  column_backward_kernel<T><<<static_cast<unsigned>(num_blocks), threads, num_bytes, queue.handle>>>(a, partial);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  add_column_sums(queue, partial, num_blocks, width, a.dweight.data);
  return true;
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
  if (a.x.numel() == 0) return;
  if (ran_by_columns(queue, a)) return;
  launch_columns(queue, dweight_kernel<T>, a.x.size(1), a);
  launch_rows(queue, dx_kernel<T>, a.x.size(0), a);
}

template void run(CudaQueue&, const RmsNormForward<bfloat16>&);
template void run(CudaQueue&, const RmsNormForward<float>&);
template void run(CudaQueue&, const RmsNormForward<double>&);
template void run(CudaQueue&, const RmsNormBackward<bfloat16>&);
template void run(CudaQueue&, const RmsNormBackward<float>&);
template void run(CudaQueue&, const RmsNormBackward<double>&);

}  // namespace engram
