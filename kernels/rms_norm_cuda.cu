#include "kernels/cuda/check.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/rms_norm_impl.h"

namespace engram {
namespace {

constexpr int kRowsPerBlock = 4;

// One warp a row: the row is read twice, the second time from cache.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward_kernel(RmsNormForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.y;
  if (row >= a.x.size(0)) return;
  const int64_t width = a.x.size(1);
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
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) dx_kernel(RmsNormBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.y;
  if (row >= a.x.size(0)) return;
  const int64_t width = a.x.size(1);

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

// One warp a column, rows in a fixed order: the same bits on every run.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) dweight_kernel(RmsNormBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t column = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.y;
  if (column >= a.x.size(1)) return;
  Acc sum = 0;
  for (int64_t row = threadIdx.x; row < a.x.size(0); row += kWarpSize) {
    sum += Acc(a.dy(row, column)) * Acc(a.x(row, column)) * a.inv_rms(row);
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) a.dweight(column) += sum;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RmsNormForward<T>& a) {
  if (a.x.numel() == 0) return;
  const dim3 threads(kWarpSize, kRowsPerBlock);
  forward_kernel<T><<<blocks_for(a.x.size(0), kRowsPerBlock), threads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

// dweight first: dx may overwrite dy.
template <class T>
void run(CudaQueue& queue, const RmsNormBackward<T>& a) {
  if (a.x.numel() == 0) return;
  const dim3 threads(kWarpSize, kRowsPerBlock);
  dweight_kernel<T><<<blocks_for(a.x.size(1), kRowsPerBlock), threads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  dx_kernel<T><<<blocks_for(a.x.size(0), kRowsPerBlock), threads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const RmsNormForward<bfloat16>&);
template void run(CudaQueue&, const RmsNormForward<float>&);
template void run(CudaQueue&, const RmsNormForward<double>&);
template void run(CudaQueue&, const RmsNormBackward<bfloat16>&);
template void run(CudaQueue&, const RmsNormBackward<float>&);
template void run(CudaQueue&, const RmsNormBackward<double>&);

}  // namespace engram
