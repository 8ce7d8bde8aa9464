#include "kernels/cuda/row_update.cuh"

namespace engram {
namespace {

// mean_c(G_c^2) of one row, on every lane.
template <int kVector, class Acc>
__device__ Acc mean_square(const Acc* grad, int64_t width, Acc scale) {
  Acc sum = 0;
  for (int64_t i = threadIdx.x; i < width / kVector; i += kWarpSize) {
    const auto g = pack_of<kVector>(grad, i);
#pragma unroll
    for (int c = 0; c < kVector; ++c) sum += (g.value[c] * scale) * (g.value[c] * scale);
  }
  return warp_sum(sum) / Acc(width);
}

template <class T, int kVector>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    rowwise_adam_kernel(RowUpdateRowwiseAdam<T> a, RowUnbias<T> row_unbias) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row();
  const UpdateControl control = read_control(a.control);
  if (row >= a.slots.size(0) || !control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const Acc keep_m = Acc(a.beta1), take_m = Acc(1 - a.beta1), keep_v = Acc(a.beta2), take_v = Acc(1 - a.beta2);
  const int64_t slot = a.slots(row), width = a.weight.size(1);
  const int32_t count = next_count(a.count(slot));
  const Acc row_v = keep_v * a.v(slot) + take_v * mean_square<kVector>(a.grad.row(row), width, scale);
  const Unbias<T> unbias = row_unbias.of(count);
  const Acc root = sqrt(row_v * unbias.v) + Acc(a.eps);
  for (int64_t i = threadIdx.x; i < width / kVector; i += kWarpSize) {
    const auto g = pack_of<kVector>(a.grad.row(row), i);
    auto m = pack_of<kVector>(a.m.row(slot), i);
    auto weight = pack_of<kVector>(a.weight.row(slot), i);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      m.value[c] = keep_m * m.value[c] + take_m * (g.value[c] * scale);
      weight.value[c] = T(Acc(weight.value[c]) - lr * (m.value[c] * unbias.m) / root);
    }
    pack_of<kVector>(a.m.row(slot), i) = m;
    pack_of<kVector>(a.weight.row(slot), i) = weight;
  }
  __syncwarp();  // every lane has read the row's scalars
  if (threadIdx.x == 0) {
    a.count(slot) = count;
    a.v(slot) = row_v;
  }
}

template <class T, int kVector>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) rowwise_adagrad_kernel(RowUpdateRowwiseAdagrad<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row();
  const UpdateControl control = read_control(a.control);
  if (row >= a.slots.size(0) || !control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const int64_t slot = a.slots(row), width = a.weight.size(1);
  const Acc row_s = a.s(slot) + mean_square<kVector>(a.grad.row(row), width, scale);
  const Acc root = sqrt(row_s) + Acc(a.eps);
  for (int64_t i = threadIdx.x; i < width / kVector; i += kWarpSize) {
    const auto g = pack_of<kVector>(a.grad.row(row), i);
    auto weight = pack_of<kVector>(a.weight.row(slot), i);
#pragma unroll
    for (int c = 0; c < kVector; ++c) weight.value[c] = T(Acc(weight.value[c]) - lr * (g.value[c] * scale) / root);
    pack_of<kVector>(a.weight.row(slot), i) = weight;
  }
  __syncwarp();  // every lane has read the sum
  if (threadIdx.x == 0) a.s(slot) = row_s;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowUpdateRowwiseAdam<T>& a) {
  const auto launch = [&]<int kVector>() {
    launch_rows(queue, rowwise_adam_kernel<T, kVector>, a.slots.size(0), a, RowUnbias<T>(a));
  };
  with_packs(a.weight.size(1), launch, a.weight.data, a.grad.data, a.m.data);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateRowwiseAdagrad<T>& a) {
  const auto launch = [&]<int kVector>() {
    launch_rows(queue, rowwise_adagrad_kernel<T, kVector>, a.slots.size(0), a);
  };
  with_packs(a.weight.size(1), launch, a.weight.data, a.grad.data);
}

template void run(CudaQueue&, const RowUpdateRowwiseAdam<bfloat16>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<float>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<double>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<bfloat16>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<float>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<double>&);

}  // namespace engram
