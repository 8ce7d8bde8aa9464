#include <algorithm>

#include "kernels/cuda/resources.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/expert_permute_impl.h"

namespace engram {
namespace {

// The plan is a counting sort: one kernel counts the experts of each tile of choices, the next places a tile behind
// what the counts say comes before it.
constexpr int kPlanThreads = 1024;
constexpr int kPlanWarps = kPlanThreads / kWarpSize;
constexpr int kTile = 4096;
constexpr int64_t kMaxExperts = 1024;  // as many as place_kernel has shared memory for

__global__ void __launch_bounds__(kPlanThreads) count_kernel(ExpertPermutePlan a, int32_t* counts) {
  extern __shared__ int32_t count_of[];
  const int num_experts = static_cast<int>(a.offsets.size(0)) - 1;
  for (int e = threadIdx.x; e < num_experts; e += kPlanThreads) count_of[e] = 0;
  __syncthreads();
  const int64_t begin = int64_t{blockIdx.x} * kTile, end = min(begin + kTile, a.expert.numel());
  for (int64_t i = begin + threadIdx.x; i < end; i += kPlanThreads) atomicAdd(&count_of[a.expert.data[i]], 1);
  __syncthreads();
  for (int e = threadIdx.x; e < num_experts; e += kPlanThreads) {
    counts[int64_t{blockIdx.x} * num_experts + e] = count_of[e];
  }
}

// values[e] = the sum of those before e. One warp.
__device__ void exclusive_sum(int32_t* values, int count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  int32_t before = 0;
  for (int begin = 0; begin < count; begin += kWarpSize) {
    const int32_t own = begin + lane < count ? values[begin + lane] : 0;
    int32_t sum = own;
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int32_t left = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += left;
    }
    if (begin + lane < count) values[begin + lane] = before + sum - own;
    before += __shfl_sync(0xffffffffu, sum, kWarpSize - 1);
  }
}

// first[e]: the slot of the tile's first choice of expert e; total has room for a number per expert. The block's first
// tile also writes the offsets.
__device__ void find_first(const ExpertPermutePlan& a, const int32_t* counts, int32_t* first, int32_t* total) {
  const int num_experts = static_cast<int>(a.offsets.size(0)) - 1;
  const int num_tiles = static_cast<int>(gridDim.x), tile = static_cast<int>(blockIdx.x);
  for (int e = threadIdx.x; e < num_experts; e += kPlanThreads) first[e] = total[e] = 0;
  __syncthreads();
  const int num_groups = max(1, kPlanThreads / num_experts);
  for (int i = threadIdx.x; i < num_experts * num_groups; i += kPlanThreads) {
    const int e = i % num_experts;
    int32_t before = 0, all = 0;
#pragma unroll 4
    for (int other = i / num_experts; other < num_tiles; other += num_groups) {
      const int32_t count = counts[int64_t{other} * num_experts + e];
      all += count;
      before += other < tile ? count : 0;
    }
    atomicAdd(&first[e], before);
    atomicAdd(&total[e], all);
  }
  __syncthreads();
  if (threadIdx.x < kWarpSize) exclusive_sum(total, num_experts);
  __syncthreads();
  for (int e = threadIdx.x; e < num_experts; e += kPlanThreads) {
    first[e] += total[e];
    if (tile == 0) a.offsets(e) = total[e];
  }
  if (tile == 0 && threadIdx.x == 0) a.offsets(num_experts) = a.expert.numel();
  __syncthreads();
}

// Each warp has a stretch of the tile. It counts its stretch, the counts of the warps before it tell where its own
// choices begin, and then it walks the stretch again.
__global__ void __launch_bounds__(kPlanThreads) place_kernel(ExpertPermutePlan a, const int32_t* counts) {
  extern __shared__ int32_t memory[];
  const int num_experts = static_cast<int>(a.offsets.size(0)) - 1;
  int32_t *first = memory, *next = memory + num_experts;  // next: [warps, experts]
  find_first(a, counts, first, next);
  for (int i = threadIdx.x; i < kPlanWarps * num_experts; i += kPlanThreads) next[i] = 0;
  __syncthreads();

  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  constexpr int kRounds = kTile / kPlanThreads;
  const int64_t begin = int64_t{blockIdx.x} * kTile + int64_t{warp} * kRounds * kWarpSize + lane;
  int32_t* mine = next + warp * num_experts;
  int32_t expert[kRounds];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int64_t i = begin + round * kWarpSize;
    expert[round] = i < a.expert.numel() ? a.expert.data[i] : -1;
    if (expert[round] >= 0) atomicAdd(&mine[expert[round]], 1);
  }
  __syncthreads();
  for (int e = threadIdx.x; e < num_experts; e += kPlanThreads) {
    int32_t at = first[e];
    for (int other = 0; other < kPlanWarps; ++other) {
      const int32_t count = next[other * num_experts + e];
      next[other * num_experts + e] = at;
      at += count;
    }
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const unsigned same = __match_any_sync(0xffffffffu, expert[round]);
    const int rank = __popc(same & ((1u << lane) - 1));
    const int64_t i = begin + round * kWarpSize;
    int32_t slot = 0;
    if (expert[round] >= 0) slot = mine[expert[round]] + rank;
    __syncwarp();  // all have read before the first of each kind counts its kind
    if (expert[round] >= 0 && rank == 0) mine[expert[round]] += __popc(same);
    __syncwarp();
    if (expert[round] < 0) continue;
    a.slot.data[i] = slot;
    a.choice(slot) = i;
  }
}

constexpr int kAhead = 4;  // units that a lane holds at once

// One warp a token of `width` units, which are elements or chunks.
template <class Unit>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    permute_kernel(const Unit* x, View<const int64_t, 2> slot, int64_t width, Unit* sorted) {
  const int64_t token = warp_row();
  if (token >= slot.size(0)) return;
  for (int64_t c = threadIdx.x; c < width; c += kAhead * kWarpSize) {
    Unit held[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (c + j * kWarpSize < width) held[j] = x[token * width + c + j * kWarpSize];
    }
    for (int64_t i = 0; i < slot.size(1); ++i) {
      Unit* to = sorted + slot(token, i) * width + c;
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (c + j * kWarpSize < width) to[j * kWarpSize] = held[j];
      }
    }
  }
}

constexpr int kRowsAhead = 8;  // sorted rows that a lane reads at once

// One warp a token.
template <class T, int N>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) unpermute_kernel(Unpermute<T> a) {
  const int64_t token = warp_row(), width = a.y.size(1);
  const int top_k = static_cast<int>(a.slot.size(1));
  if (token >= a.y.size(0)) return;
  const int64_t* slot = a.slot.row(token);
  for (int64_t c = int64_t{threadIdx.x} * N; c < width; c += kWarpSize * N) {
    Values<T, N> sum{};
    for (int begin = 0; begin < top_k; begin += kRowsAhead) {
      Raw<T, N> rows[kRowsAhead];
#pragma unroll
      for (int i = 0; i < kRowsAhead; ++i) {
        if (begin + i < top_k) rows[i] = load_raw<T, N>(a.sorted.data + slot[begin + i] * width + c);
      }
#pragma unroll
      for (int i = 0; i < kRowsAhead; ++i) {
        if (begin + i >= top_k) break;
        const Values<T, N> row = unpack<T, N>(rows[i]);
        for (int j = 0; j < N; ++j) sum.at[j] += row.at[j];
      }
    }
    if (a.addend.data != nullptr) {
      const Values<T, N> addend = load<T, N>(a.addend.row(token) + c);
      for (int j = 0; j < N; ++j) sum.at[j] += addend.at[j];
    }
    store<T, N>(a.y.row(token) + c, sum);
  }
}

template <class Unit, class T>
void launch_permute(CudaQueue& queue, const Permute<T>& a) {
  const int64_t width = a.x.size(1) * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(Unit));
  launch_rows(queue, permute_kernel<Unit>, a.x.size(0), reinterpret_cast<const Unit*>(a.x.data), a.slot, width,
              reinterpret_cast<Unit*>(a.sorted.data));
}

}  // namespace

void run(CudaQueue& queue, const ExpertPermutePlan& a) {
  const int64_t num_experts = a.offsets.size(0) - 1,
                num_tiles = std::max<int64_t>(1, blocks_for(a.expert.numel(), kTile));
  ENGRAM_CHECK(num_experts <= kMaxExperts, "expert_permute: ", num_experts, " experts; wanted at most ", kMaxExperts,
               " on a CUDA device");
  int64_t used = 0;
  int32_t* counts = scratch<int32_t>(queue, num_tiles * num_experts, used);
  const auto row_bytes = static_cast<size_t>(num_experts) * sizeof(int32_t);
  const auto num_blocks = static_cast<unsigned>(num_tiles);
  count_kernel<<<num_blocks, kPlanThreads, row_bytes, queue.handle>>>(a, counts);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
  const size_t place_bytes = (1 + kPlanWarps) * row_bytes;
  ENGRAM_CUDA_CHECK(
      cudaFuncSetAttribute(place_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(place_bytes)));
  place_kernel<<<num_blocks, kPlanThreads, place_bytes, queue.handle>>>(a, counts);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template <class T>
void run(CudaQueue& queue, const Permute<T>& a) {
  const int64_t row_bytes = a.x.size(1) * static_cast<int64_t>(sizeof(T));
  if (in_chunks(row_bytes, a.x.data, a.sorted.data)) return launch_permute<Chunk>(queue, a);
  launch_permute<T>(queue, a);
}

template <class T>
void run(CudaQueue& queue, const Unpermute<T>& a) {
  const int64_t row_bytes = a.y.size(1) * static_cast<int64_t>(sizeof(T));
  with_access<T>(in_chunks(row_bytes, a.sorted.data, a.addend.data, a.y.data),
                 [&]<int N>() { launch_rows(queue, unpermute_kernel<T, N>, a.y.size(0), a); });
}

template void run(CudaQueue&, const Permute<bfloat16>&);
template void run(CudaQueue&, const Permute<float>&);
template void run(CudaQueue&, const Permute<double>&);
template void run(CudaQueue&, const Permute<int32_t>&);
template void run(CudaQueue&, const Unpermute<bfloat16>&);
template void run(CudaQueue&, const Unpermute<float>&);
template void run(CudaQueue&, const Unpermute<double>&);

}  // namespace engram
