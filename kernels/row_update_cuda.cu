#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/stream_memory.cuh"
#include "kernels/row_update_impl.h"

namespace engram {
namespace {

// Factors that take the bias out of both moments after `step` updates of a row.
template <class T>
struct Unbias {
  Accumulator<T> m, v;
};

template <class T, template <class> class Args>
__device__ Unbias<T> unbias_of(const Args<T>& a, int64_t step) {
  using Acc = Accumulator<T>;
  return {Acc(1 / (1 - pow(a.beta1, double(step)))), Acc(1 / (1 - pow(a.beta2, double(step))))};
}

// Adam's step of one row by one warp; grad == nullptr stands for a gradient of 0.
template <class T>
__device__ void update_row(const RowUpdateAdam<T>& a, const UpdateControl& control, int64_t slot,
                           const Accumulator<T>* grad, Unbias<T> unbias) {
  using Acc = Accumulator<T>;
  const Acc lr = Acc(a.lr * control.lr_ratio), eps = Acc(a.eps), scale = Acc(control.grad_scale);
  const Acc keep_m = Acc(a.beta1), take_m = Acc(1 - a.beta1), keep_v = Acc(a.beta2), take_v = Acc(1 - a.beta2);
  T* weight = a.weight.row(slot);
  Acc *m = a.m.row(slot), *v = a.v.row(slot);
  for (int64_t c = threadIdx.x; c < a.weight.size(1); c += kWarpSize) {
    const Acc g = grad == nullptr ? Acc(0) : grad[c] * scale;
    m[c] = keep_m * m[c] + take_m * g;
    v[c] = keep_v * v[c] + take_v * (g * g);
    weight[c] = T(Acc(weight[c]) - lr * (m[c] * unbias.m) / (sqrt(v[c] * unbias.v) + eps));
  }
}

// One warp a touched row, here and below.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) sgd_kernel(RowUpdateSgd<T> a) {
  using Acc = Accumulator<T>;
  const int64_t i = warp_row();
  const UpdateControl control = read_control(a.control);
  if (i >= a.slots.size(0) || !control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const Acc* grad = a.grad.row(i);
  T* weight = a.weight.row(a.slots(i));
  for (int64_t c = threadIdx.x; c < a.weight.size(1); c += kWarpSize) {
    weight[c] = T(Acc(weight[c]) - lr * (grad[c] * scale));
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) lazy_kernel(RowUpdateAdamLazy<T> a) {
  const int64_t i = warp_row();
  const UpdateControl control = read_control(a.adam.control);
  if (i >= a.adam.slots.size(0) || !control.apply) return;
  const int64_t slot = a.adam.slots(i);
  const int32_t count = next_count(a.count(slot));
  __syncwarp();  // every lane has read the count
  if (threadIdx.x == 0) a.count(slot) = count;
  update_row(a.adam, control, slot, a.adam.grad.row(i), unbias_of(a.adam, count));
}

// One thread: the powers are too dear for every row.
template <class T>
__global__ void unbias_kernel(RowUpdateAdam<T> a, Unbias<T>* unbias) {
  *unbias = unbias_of(a, read_control(a.control).num_updates);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    touched_kernel(RowUpdateAdam<T> a, const Unbias<T>* unbias, uint8_t* touched) {
  const int64_t i = warp_row();
  const UpdateControl control = read_control(a.control);
  if (i >= a.slots.size(0) || !control.apply) return;
  const int64_t slot = a.slots(i);
  if (threadIdx.x == 0) touched[slot] = 1;
  update_row(a, control, slot, a.grad.row(i), *unbias);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    untouched_kernel(RowUpdateAdam<T> a, const Unbias<T>* unbias, const uint8_t* touched) {
  const int64_t slot = warp_row();
  const UpdateControl control = read_control(a.control);
  if (slot >= a.weight.size(0) || !control.apply || touched[slot] != 0) return;
  update_row(a, control, slot, static_cast<const Accumulator<T>*>(nullptr), *unbias);
}

// mean_c(G_c^2) of one row, on every lane.
template <class Acc>
__device__ Acc mean_square(const Acc* grad, int64_t width, Acc scale) {
  Acc sum = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) sum += (grad[c] * scale) * (grad[c] * scale);
  return warp_sum(sum) / Acc(width);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) rowwise_adam_kernel(RowUpdateRowwiseAdam<T> a) {
  using Acc = Accumulator<T>;
  const int64_t i = warp_row();
  const UpdateControl control = read_control(a.control);
  if (i >= a.slots.size(0) || !control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const Acc keep_m = Acc(a.beta1), take_m = Acc(1 - a.beta1), keep_v = Acc(a.beta2), take_v = Acc(1 - a.beta2);
  const int64_t slot = a.slots(i), width = a.weight.size(1);
  const Acc* grad = a.grad.row(i);
  const int32_t count = next_count(a.count(slot));
  const Acc row_v = keep_v * a.v(slot) + take_v * mean_square(grad, width, scale);
  __syncwarp();  // every lane has read the row's scalars
  if (threadIdx.x == 0) {
    a.count(slot) = count;
    a.v(slot) = row_v;
  }
  const Unbias<T> unbias = unbias_of(a, count);
  const Acc root = sqrt(row_v * unbias.v) + Acc(a.eps);
  T* weight = a.weight.row(slot);
  Acc* m = a.m.row(slot);
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    m[c] = keep_m * m[c] + take_m * (grad[c] * scale);
    weight[c] = T(Acc(weight[c]) - lr * (m[c] * unbias.m) / root);
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) rowwise_adagrad_kernel(RowUpdateRowwiseAdagrad<T> a) {
  using Acc = Accumulator<T>;
  const int64_t i = warp_row();
  const UpdateControl control = read_control(a.control);
  if (i >= a.slots.size(0) || !control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const int64_t slot = a.slots(i), width = a.weight.size(1);
  const Acc* grad = a.grad.row(i);
  const Acc row_s = a.s(slot) + mean_square(grad, width, scale);
  __syncwarp();  // every lane has read the sum
  if (threadIdx.x == 0) a.s(slot) = row_s;
  const Acc root = sqrt(row_s) + Acc(a.eps);
  T* weight = a.weight.row(slot);
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    weight[c] = T(Acc(weight[c]) - lr * (grad[c] * scale) / root);
  }
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowUpdateSgd<T>& a) {
  launch_rows(queue, sgd_kernel<T>, a.slots.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateAdamLazy<T>& a) {
  launch_rows(queue, lazy_kernel<T>, a.adam.slots.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateAdamDense<T>& a) {
  const int64_t num_slots = a.adam.weight.size(0);
  if (num_slots == 0) return;
  const StreamMemory<Unbias<T>> unbias(queue, 1);
  unbias_kernel<<<1, 1, 0, queue.handle>>>(a.adam, unbias.data());
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  const StreamMemory<uint8_t> touched(queue, num_slots);
  ENGRAM_CUDA_CHECK(cudaMemsetAsync(touched.data(), 0, static_cast<size_t>(num_slots), queue.handle));
  launch_rows(queue, touched_kernel<T>, a.adam.slots.size(0), a.adam, unbias.data(), touched.data());
  launch_rows(queue, untouched_kernel<T>, num_slots, a.adam, unbias.data(), touched.data());
}

template <class T>
void run(CudaQueue& queue, const RowUpdateRowwiseAdam<T>& a) {
  launch_rows(queue, rowwise_adam_kernel<T>, a.slots.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateRowwiseAdagrad<T>& a) {
  launch_rows(queue, rowwise_adagrad_kernel<T>, a.slots.size(0), a);
}

template void run(CudaQueue&, const RowUpdateSgd<bfloat16>&);
template void run(CudaQueue&, const RowUpdateSgd<float>&);
template void run(CudaQueue&, const RowUpdateSgd<double>&);
template void run(CudaQueue&, const RowUpdateAdamLazy<bfloat16>&);
template void run(CudaQueue&, const RowUpdateAdamLazy<float>&);
template void run(CudaQueue&, const RowUpdateAdamLazy<double>&);
template void run(CudaQueue&, const RowUpdateAdamDense<bfloat16>&);
template void run(CudaQueue&, const RowUpdateAdamDense<float>&);
template void run(CudaQueue&, const RowUpdateAdamDense<double>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<bfloat16>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<float>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdam<double>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<bfloat16>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<float>&);
template void run(CudaQueue&, const RowUpdateRowwiseAdagrad<double>&);

}  // namespace engram
