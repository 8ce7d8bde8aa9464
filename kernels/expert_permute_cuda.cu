#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/expert_permute_impl.h"

namespace engram {
namespace {

constexpr int kPlanWarps = 32;

// One block an expert and one past the last, which only writes the last offset. Each warp counts in its own stretch of
// the choices, the stretches before it tell where its first slot is, and then it walks the stretch again.
__global__ void __launch_bounds__(kWarpSize* kPlanWarps) plan_kernel(ExpertPermutePlan a) {
  __shared__ int64_t below_of[kPlanWarps], equal_of[kPlanWarps];
  const auto expert = static_cast<int32_t>(blockIdx.x);
  const int64_t count = a.expert.numel(), stretch = (count + kPlanWarps - 1) / kPlanWarps;
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
  const int64_t begin = min(warp * stretch, count), end = min(begin + stretch, count);
  int64_t below = 0, equal = 0;
  for (int64_t i = begin + lane; i < end; i += kWarpSize) {
    below += a.expert.data[i] < expert;
    equal += a.expert.data[i] == expert;
  }
  below = warp_sum(below);
  equal = warp_sum(equal);
  if (lane == 0) {
    below_of[warp] = below;
    equal_of[warp] = equal;
  }
  __syncthreads();
  int64_t next = 0;
  for (int other = 0; other < kPlanWarps; ++other) next += below_of[other] + (other < warp ? equal_of[other] : 0);
  if (warp == 0 && lane == 0) a.offsets(expert) = next;
  for (int64_t base = begin; base < end; base += kWarpSize) {
    const bool mine = base + lane < end && a.expert.data[base + lane] == expert;
    const unsigned votes = __ballot_sync(0xffffffffu, mine);
    if (mine) a.slot.data[base + lane] = next + __popc(votes & ((1u << lane) - 1));
    next += __popc(votes);
  }
}

// One warp a token of `width` units, which are elements or chunks.
template <class Unit>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    permute_kernel(const Unit* x, View<const int64_t, 2> slot, int64_t width, Unit* sorted) {
  const int64_t token = warp_row();
  if (token >= slot.size(0)) return;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    const Unit value = x[token * width + c];
    for (int64_t i = 0; i < slot.size(1); ++i) sorted[slot(token, i) * width + c] = value;
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) permute_backward_kernel(PermuteBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t token = warp_row();
  if (token >= a.dx.size(0)) return;
  for (int64_t c = threadIdx.x; c < a.dx.size(1); c += kWarpSize) {
    Acc sum = 0;
    for (int64_t i = 0; i < a.slot.size(1); ++i) sum += Acc(a.dsorted(a.slot(token, i), c));
    a.dx(token, c) = T(sum);
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) unpermute_kernel(UnpermuteForward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t token = warp_row();
  if (token >= a.y.size(0)) return;
  for (int64_t c = threadIdx.x; c < a.y.size(1); c += kWarpSize) {
    Acc sum = 0;
    for (int64_t i = 0; i < a.slot.size(1); ++i) sum += a.weight(token, i) * Acc(a.sorted(a.slot(token, i), c));
    a.y(token, c) = T(sum);
  }
}

// One warp a (token, choice). dsorted may be sorted: each thread reads its columns before it writes them.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) unpermute_backward_kernel(UnpermuteBackward<T> a) {
  using Acc = Accumulator<T>;
  const int64_t choice = warp_row(), width = a.dy.size(1);
  if (choice >= a.slot.numel()) return;
  const int64_t slot = a.slot.data[choice];
  const T *dy = a.dy.row(choice / a.slot.size(1)), *sorted = a.sorted.row(slot);
  T* dsorted = a.dsorted.row(slot);
  const Acc weight = a.weight.data[choice];
  Acc dot = 0;
  for (int64_t c = threadIdx.x; c < width; c += kWarpSize) {
    dot += Acc(dy[c]) * Acc(sorted[c]);
    dsorted[c] = T(weight * Acc(dy[c]));
  }
  dot = warp_sum(dot);
  if (threadIdx.x == 0) a.dweight.data[choice] = dot;
}

template <class Unit, class T>
void permute(CudaQueue& queue, const PermuteForward<T>& a) {
  const int64_t width = a.x.size(1) * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(Unit));
  launch_rows(queue, permute_kernel<Unit>, a.x.size(0), reinterpret_cast<const Unit*>(a.x.data), a.slot, width,
              reinterpret_cast<Unit*>(a.sorted.data));
}

}  // namespace

void run(CudaQueue& queue, const ExpertPermutePlan& a) {
  const dim3 threads(kWarpSize, kPlanWarps);
  plan_kernel<<<blocks_for(a.offsets.size(0), 1), threads, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void run(CudaQueue& queue, const PermuteForward<T>& a) {
  const int64_t row_bytes = a.x.size(1) * static_cast<int64_t>(sizeof(T));
  if (in_chunks(row_bytes, a.x.data, a.sorted.data)) return permute<Chunk>(queue, a);
  permute<T>(queue, a);
}

template <class T>
void run(CudaQueue& queue, const PermuteBackward<T>& a) {
  launch_rows(queue, permute_backward_kernel<T>, a.dx.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const UnpermuteForward<T>& a) {
  launch_rows(queue, unpermute_kernel<T>, a.y.size(0), a);
}

template <class T>
void run(CudaQueue& queue, const UnpermuteBackward<T>& a) {
  launch_rows(queue, unpermute_backward_kernel<T>, a.slot.numel(), a);
}

template void run(CudaQueue&, const PermuteForward<bfloat16>&);
template void run(CudaQueue&, const PermuteForward<float>&);
template void run(CudaQueue&, const PermuteForward<double>&);
template void run(CudaQueue&, const PermuteBackward<bfloat16>&);
template void run(CudaQueue&, const PermuteBackward<float>&);
template void run(CudaQueue&, const PermuteBackward<double>&);
template void run(CudaQueue&, const UnpermuteForward<bfloat16>&);
template void run(CudaQueue&, const UnpermuteForward<float>&);
template void run(CudaQueue&, const UnpermuteForward<double>&);
template void run(CudaQueue&, const UnpermuteBackward<bfloat16>&);
template void run(CudaQueue&, const UnpermuteBackward<float>&);
template void run(CudaQueue&, const UnpermuteBackward<double>&);

}  // namespace engram
