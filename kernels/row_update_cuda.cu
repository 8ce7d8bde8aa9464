#include "kernels/cuda/row_update.cuh"
#include "kernels/cuda/stream_memory.cuh"

namespace engram {
namespace {

// Adam's step of one row by one warp; grad == nullptr stands for a gradient of 0. unbias() is asked when all else that
// is read is on its way.
template <int kVector, class T, class GetUnbias>
__device__ void update_row(const RowUpdateAdam<T>& a, const UpdateControl& control, int64_t slot,
                           const Accumulator<T>* grad, GetUnbias&& get_unbias) {
  using Acc = Accumulator<T>;
  const Acc lr = Acc(a.lr * control.lr_ratio), eps = Acc(a.eps), scale = Acc(control.grad_scale);
  const Acc keep_m = Acc(a.beta1), take_m = Acc(1 - a.beta1), keep_v = Acc(a.beta2), take_v = Acc(1 - a.beta2);
  for (int64_t i = threadIdx.x; i < a.weight.size(1) / kVector; i += kWarpSize) {
    Pack<Acc, kVector> g = {};
    if (grad != nullptr) g = pack_of<kVector>(grad, i);
    auto m = pack_of<kVector>(a.m.row(slot), i), v = pack_of<kVector>(a.v.row(slot), i);
    auto weight = pack_of<kVector>(a.weight.row(slot), i);
    const Unbias<T> unbias = get_unbias();
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const Acc scaled = g.value[c] * scale;
      m.value[c] = keep_m * m.value[c] + take_m * scaled;
      v.value[c] = keep_v * v.value[c] + take_v * (scaled * scaled);
      weight.value[c] = T(Acc(weight.value[c]) - lr * (m.value[c] * unbias.m) / (sqrt(v.value[c] * unbias.v) + eps));
    }
    pack_of<kVector>(a.m.row(slot), i) = m;
    pack_of<kVector>(a.v.row(slot), i) = v;
    pack_of<kVector>(a.weight.row(slot), i) = weight;
  }
}

template <class T, int kVector>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) sgd_kernel(RowUpdateSgd<T> a) {
  using Acc = Accumulator<T>;
  const int64_t row = warp_row();
  const UpdateControl control = read_control(a.control);
  if (row >= a.slots.size(0) || !control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  T* weights = a.weight.row(a.slots(row));
  for (int64_t i = threadIdx.x; i < a.weight.size(1) / kVector; i += kWarpSize) {
    const auto g = pack_of<kVector>(a.grad.row(row), i);
    auto weight = pack_of<kVector>(weights, i);
#pragma unroll
    for (int c = 0; c < kVector; ++c) weight.value[c] = T(Acc(weight.value[c]) - lr * (g.value[c] * scale));
    pack_of<kVector>(weights, i) = weight;
  }
}

template <class T, int kVector>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) lazy_kernel(RowUpdateAdamLazy<T> a, RowUnbias<T> unbias) {
  const int64_t row = warp_row();
  const UpdateControl control = read_control(a.adam.control);
  if (row >= a.adam.slots.size(0) || !control.apply) return;
  const int64_t slot = a.adam.slots(row);
  const int32_t count = next_count(a.count(slot));
  update_row<kVector>(a.adam, control, slot, a.adam.grad.row(row), [&] { return unbias.of(count); });
  __syncwarp();  // every lane has read the count
  if (threadIdx.x == 0) a.count(slot) = count;
}

// One thread: the powers are too dear for every row.
template <class T>
__global__ void unbias_kernel(RowUpdateAdam<T> a, Unbias<T>* unbias) {
  using Acc = Accumulator<T>;
  const auto step = static_cast<double>(read_control(a.control).num_updates);
  *unbias = {Acc(1 / (1 - pow(a.beta1, step))), Acc(1 / (1 - pow(a.beta2, step)))};
}

template <class T, int kVector>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    touched_kernel(RowUpdateAdam<T> a, const Unbias<T>* unbias, uint8_t* touched) {
  const int64_t row = warp_row();
  const UpdateControl control = read_control(a.control);
  if (row >= a.slots.size(0) || !control.apply) return;
  const int64_t slot = a.slots(row);
  if (threadIdx.x == 0) touched[slot] = 1;
  update_row<kVector>(a, control, slot, a.grad.row(row), [&] { return *unbias; });
}

template <class T, int kVector>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    untouched_kernel(RowUpdateAdam<T> a, const Unbias<T>* unbias, const uint8_t* touched) {
  const int64_t slot = warp_row();
  const UpdateControl control = read_control(a.control);
  if (slot >= a.weight.size(0) || !control.apply || touched[slot] != 0) return;
  update_row<kVector>(a, control, slot, static_cast<const Accumulator<T>*>(nullptr), [&] { return *unbias; });
}

template <class T, class Fn>
void with_packs(const RowUpdateAdam<T>& a, Fn&& fn) {
  with_packs(a.weight.size(1), fn, a.weight.data, a.grad.data, a.m.data, a.v.data);
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowUpdateSgd<T>& a) {
  const auto launch = [&]<int kVector>() { launch_rows(queue, sgd_kernel<T, kVector>, a.slots.size(0), a); };
  with_packs(a.weight.size(1), launch, a.weight.data, a.grad.data);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateAdamLazy<T>& a) {
  with_packs(a.adam, [&]<int kVector>() {
    launch_rows(queue, lazy_kernel<T, kVector>, a.adam.slots.size(0), a, RowUnbias<T>(a.adam));
  });
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
  with_packs(a.adam, [&]<int kVector>() {
    launch_rows(queue, touched_kernel<T, kVector>, a.adam.slots.size(0), a.adam, unbias.data(), touched.data());
    launch_rows(queue, untouched_kernel<T, kVector>, num_slots, a.adam, unbias.data(), touched.data());
  });
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
}  // namespace engram
