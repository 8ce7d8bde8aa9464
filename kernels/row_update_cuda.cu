#include "kernels/cuda/row_update.cuh"
#include "kernels/cuda/stream_memory.cuh"

namespace engram {
namespace {

// What Adam's step reads of a pack of columns of one row, and what it leaves there.
template <class T, int kVector>
struct AdamPack {
  using Acc = Accumulator<T>;
  Pack<Acc, kVector> g, m, v;
  Pack<T, kVector> weight;
};

// Factors of Adam's step that all rows share.
template <class T>
struct AdamRates {
  using Acc = Accumulator<T>;
  Acc lr, eps, scale, keep_m, take_m, keep_v, take_v;

  __device__ AdamRates(const RowUpdateAdam<T>& a, const UpdateControl& control)
      : lr(a.lr * control.lr_ratio),
        eps(a.eps),
        scale(control.grad_scale),
        keep_m(a.beta1),
        take_m(1 - a.beta1),
        keep_v(a.beta2),
        take_v(1 - a.beta2) {}

  template <int kVector>
  __device__ void step(AdamPack<T, kVector>& p, const Unbias<T>& unbias) const {
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const Acc scaled = p.g.value[c] * scale;
      p.m.value[c] = keep_m * p.m.value[c] + take_m * scaled;
      p.v.value[c] = keep_v * p.v.value[c] + take_v * (scaled * scaled);
      p.weight.value[c] =
          T(Acc(p.weight.value[c]) - lr * (p.m.value[c] * unbias.m) / (sqrt(p.v.value[c] * unbias.v) + eps));
    }
  }
};

// Adam's step of this thread's rows in a launch by launch_row_packs(): row i lies at slot_of(i), -1 for one that stays;
// its gradient is 0 where kGrad is false. meanwhile() is called once by all threads of the block when what they read
// first is on its way, unbias_of(place of a row in the block) after it.
template <int kVector, bool kGrad, class T, class SlotOf, class Meanwhile, class UnbiasOf>
__device__ void update_rows(const RowUpdateAdam<T>& a, const UpdateControl& control, SlotOf&& slot_of,
                            Meanwhile&& meanwhile, UnbiasOf&& unbias_of) {
  const AdamRates<T> rates(a, control);
  int64_t slot[kRowsPerThread];
#pragma unroll
  for (int u = 0; u < kRowsPerThread; ++u) slot[u] = slot_of(first_block_row() + place_in_block(u));
  const int64_t num_packs = a.weight.size(1) / kVector;
  int64_t first = 0;
  do {
    const int64_t i = first + threadIdx.x;
    AdamPack<T, kVector> packs[kRowsPerThread];
#pragma unroll
    for (int u = 0; u < kRowsPerThread; ++u) {
      packs[u].g = {};
      if (slot[u] < 0 || i >= num_packs) continue;
      if (kGrad) packs[u].g = pack_of<kVector>(a.grad.row(first_block_row() + place_in_block(u)), i);
      packs[u].m = pack_of<kVector>(a.m.row(slot[u]), i);
      packs[u].v = pack_of<kVector>(a.v.row(slot[u]), i);
      packs[u].weight = pack_of<kVector>(a.weight.row(slot[u]), i);
    }
    if (first == 0) meanwhile();
#pragma unroll
    for (int u = 0; u < kRowsPerThread; ++u) {
      if (slot[u] < 0 || i >= num_packs) continue;
      rates.step(packs[u], unbias_of(place_in_block(u)));
      pack_of<kVector>(a.m.row(slot[u]), i) = packs[u].m;
      pack_of<kVector>(a.v.row(slot[u]), i) = packs[u].v;
      pack_of<kVector>(a.weight.row(slot[u]), i) = packs[u].weight;
    }
    first += blockDim.x;
  } while (first < num_packs);
}

template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) sgd_kernel(RowUpdateSgd<T> a) {
  using Acc = Accumulator<T>;
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const Acc lr = Acc(a.lr * control.lr_ratio), scale = Acc(control.grad_scale);
  const int64_t num_rows = a.slots.size(0);
  for (int64_t i = threadIdx.x; i < a.weight.size(1) / kVector; i += blockDim.x) {
    Pack<Acc, kVector> g[kRowsPerThread];
    Pack<T, kVector> weight[kRowsPerThread];
    for_each_thread_row(num_rows, [&](int u, int64_t row) {
      g[u] = pack_of<kVector>(a.grad.row(row), i);
      weight[u] = pack_of<kVector>(a.weight.row(a.slots(row)), i);
    });
    for_each_thread_row(num_rows, [&](int u, int64_t row) {
#pragma unroll
      for (int c = 0; c < kVector; ++c) weight[u].value[c] = T(Acc(weight[u].value[c]) - lr * (g[u].value[c] * scale));
      pack_of<kVector>(a.weight.row(a.slots(row)), i) = weight[u];
    });
  }
}

// Each row's count is read and written by one thread, while the rows themselves are on their way.
template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize) lazy_kernel(RowUpdateAdamLazy<T> a, RowUnbias<T> row_unbias) {
  __shared__ Unbias<T> unbias[kRowsPerThread * kBlockSize];
  const UpdateControl control = read_control(a.adam.control);
  if (!control.apply) return;
  const int64_t num_rows = a.adam.slots.size(0);
  const auto count_rows = [&] {
    for_each_block_row(num_rows, [&](int place, int64_t row) {
      int32_t& count = a.count(a.adam.slots(row));
      count = next_count(count);
      unbias[place] = row_unbias.of(count);
    });
    __syncthreads();
  };
  update_rows<kVector, true>(
      a.adam, control, [&](int64_t row) { return row < num_rows ? a.adam.slots(row) : -1; }, count_rows,
      [&](int place) { return unbias[place]; });
}

// One thread: the powers are too dear for every row.
template <class T>
__global__ void unbias_kernel(RowUpdateAdam<T> a, Unbias<T>* unbias) {
  using Acc = Accumulator<T>;
  const auto step = static_cast<double>(read_control(a.control).num_updates);
  *unbias = {Acc(1 / (1 - pow(a.beta1, step))), Acc(1 / (1 - pow(a.beta2, step)))};
}

template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize)
    touched_kernel(RowUpdateAdam<T> a, const Unbias<T>* unbias, uint8_t* touched) {
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const auto slot_of = [&](int64_t row) {
    const int64_t slot = row < a.slots.size(0) ? a.slots(row) : -1;
    if (slot >= 0 && threadIdx.x == 0) touched[slot] = 1;
    return slot;
  };
  update_rows<kVector, true>(
      a, control, slot_of, [] {}, [&](int) { return *unbias; });
}

template <class T, int kVector>
__global__ void __launch_bounds__(kBlockSize)
    untouched_kernel(RowUpdateAdam<T> a, const Unbias<T>* unbias, const uint8_t* touched) {
  const UpdateControl control = read_control(a.control);
  if (!control.apply) return;
  const auto slot_of = [&](int64_t slot) { return slot < a.weight.size(0) && touched[slot] == 0 ? slot : -1; };
  update_rows<kVector, false>(
      a, control, slot_of, [] {}, [&](int) { return *unbias; });
}

template <class T, class Fn>
void with_packs(const RowUpdateAdam<T>& a, Fn&& fn) {
  with_packs(a.weight.size(1), fn, a.weight.data, a.grad.data, a.m.data, a.v.data);
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const RowUpdateSgd<T>& a) {
  const auto launch = [&]<int kVector>() {
    launch_row_packs(queue, sgd_kernel<T, kVector>, a.slots.size(0), a.weight.size(1) / kVector, a);
  };
  with_packs(a.weight.size(1), launch, a.weight.data, a.grad.data);
}

template <class T>
void run(CudaQueue& queue, const RowUpdateAdamLazy<T>& a) {
  with_packs(a.adam, [&]<int kVector>() {
    const int64_t num_packs = a.adam.weight.size(1) / kVector;
    launch_row_packs(queue, lazy_kernel<T, kVector>, a.adam.slots.size(0), num_packs, a, RowUnbias<T>(a.adam));
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
    const int64_t num_touched = a.adam.slots.size(0), num_packs = a.adam.weight.size(1) / kVector;
    launch_row_packs(queue, touched_kernel<T, kVector>, num_touched, num_packs, a.adam, unbias.data(), touched.data());
    launch_row_packs(queue, untouched_kernel<T, kVector>, num_slots, num_packs, a.adam, unbias.data(), touched.data());
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
