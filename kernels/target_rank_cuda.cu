#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vec.cuh"
#include "kernels/target_rank_impl.h"

namespace engram {
namespace {

// One block a row.
template <class T>
__global__ void __launch_bounds__(kBlockSize) rank_kernel(TargetRank<T> a) {
  const int64_t row = blockIdx.x, target = a.targets(row);
  const T* logits = a.logits.row(row);
  const auto own = load<T, 1>(logits + target).at[0];
  int num_before = 0;
  for (int64_t c = threadIdx.x; c < a.logits.size(1); c += kBlockSize) {
    const auto logit = load<T, 1>(logits + c).at[0];
    num_before += logit > own || (logit == own && c < target) ? 1 : 0;
  }
  num_before = block_sum(num_before);
  if (threadIdx.x == 0) a.ranks(row) = 1 + num_before;
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const TargetRank<T>& a) {
  if (a.logits.size(0) == 0) return;
  rank_kernel<T><<<blocks_for(a.logits.size(0), 1), kBlockSize, 0, queue.handle>>>(a);
  ENGRAM_CUDA_CHECK(cudaGetLastError());
}

template void run(CudaQueue&, const TargetRank<bfloat16>&);
template void run(CudaQueue&, const TargetRank<float>&);
template void run(CudaQueue&, const TargetRank<double>&);

}  // namespace engram
