#include "kernels/cuda/launch.cuh"
#include "kernels/random_fill_impl.h"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) fill_kernel(FillNormal<T> a) {
  const int64_t i = thread_index();
  if (i >= a.values.size(0)) return;
  const uint64_t index = a.fill.first_index + static_cast<uint64_t>(i);
  const float z = normal(a.fill.seed, a.fill.domain, a.fill.tensor, index);
  a.values(i) = T(Accumulator<T>(fma(a.fill.deviation, double{z}, a.fill.mean)));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const FillNormal<T>& a) {
  launch_each(queue, fill_kernel<T>, a.values.size(0), a);
}

template void run(CudaQueue&, const FillNormal<bfloat16>&);
template void run(CudaQueue&, const FillNormal<float>&);
template void run(CudaQueue&, const FillNormal<double>&);

}  // namespace engram
