#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/row_gather_impl.h"

namespace engram {
namespace {

// Units of a thread: their loads are in flight together, which is what hides the latency of scattered rows.
constexpr int kUnitsPerThread = 4;
constexpr int kUnitsPerBlock = kBlockSize * kUnitsPerThread;

// Rows of `width` units of kVector elements; a unit is loaded and stored at once.
template <class T, class Out, int kVector>
struct Units {
  using Load = Pack<T, kVector>;
  using Store = Pack<Out, kVector>;

  const Load* rows;
  const int64_t* index;
  Store* out;
  int64_t count;  // units of out
  uint32_t width;
};

template <class T, class Out, int kVector>
__device__ Pack<Out, kVector> converted(const Pack<T, kVector>& from) {
  Pack<Out, kVector> to;
#pragma unroll
  for (int c = 0; c < kVector; ++c) to.value[c] = static_cast<Out>(from.value[c]);
  return to;
}

// A block takes consecutive units of out, so that only one wide division is needed to find its first row.
template <class T, class Out, int kVector>
__global__ void __launch_bounds__(kBlockSize) gather_kernel(Units<T, Out, kVector> a) {
  const int64_t first = int64_t{blockIdx.x} * kUnitsPerBlock;
  const int64_t first_row = first / a.width;
  const auto skipped = static_cast<uint32_t>(first - first_row * a.width);
  Pack<T, kVector> units[kUnitsPerThread];
#pragma unroll
  for (int u = 0; u < kUnitsPerThread; ++u) {
    const uint32_t local = skipped + static_cast<uint32_t>(u) * kBlockSize + threadIdx.x;
    units[u] = {};
    if (first + (local - skipped) >= a.count) continue;
    const int64_t row = a.index[first_row + local / a.width];
    if (row >= 0) units[u] = a.rows[row * a.width + local % a.width];
  }
#pragma unroll
  for (int u = 0; u < kUnitsPerThread; ++u) {
    const int64_t at = first + u * kBlockSize + threadIdx.x;
    if (at < a.count) a.out[at] = converted<T, Out, kVector>(units[u]);
  }
}

template <int kVector, class T, class Out>
void gather(CudaQueue& queue, const RowGather<T, Out>& a) {
  const int64_t width = a.rows.size(1) / kVector, count = a.index.size(0) * width;
  using Args = Units<T, Out, kVector>;
  const Args units{reinterpret_cast<const typename Args::Load*>(a.rows.data), a.index.data,
                   reinterpret_cast<typename Args::Store*>(a.out.data), count, static_cast<uint32_t>(width)};
  gather_kernel<T, Out, kVector><<<blocks_for(count, kUnitsPerBlock), kBlockSize, 0, queue.handle>>>(units);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <class T, class Out>
void run(CudaQueue& queue, const RowGather<T, Out>& a) {
  constexpr int kVector = sizeof(Chunk) / sizeof(Out);
  if (a.out.numel() == 0) return;
  ENGRAM_CHECK(a.rows.size(1) <= std::numeric_limits<int32_t>::max(), "row_gather: rows of ", a.rows.size(1),
               " elements, wanted fewer than 2^31");
  if (in_packs<kVector>(a.rows.size(1), a.rows.data, a.out.data)) return gather<kVector>(queue, a);
  gather<1>(queue, a);
}

template void run(CudaQueue&, const RowGather<bfloat16, bfloat16>&);
template void run(CudaQueue&, const RowGather<float, float>&);
template void run(CudaQueue&, const RowGather<float, bfloat16>&);
template void run(CudaQueue&, const RowGather<double, double>&);

}  // namespace engram
