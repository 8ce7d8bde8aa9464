#include "kernels/convert_impl.h"
#include "kernels/cuda/launch.cuh"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) convert_kernel(Convert<T> a) {
  const int64_t i = thread_index();
  if (i < a.x.size(0)) a.y(i) = static_cast<typename Convert<T>::Other>(a.x(i));
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const Convert<T>& a) {
  launch_each(queue, convert_kernel<T>, a.x.size(0), a);
}

template void run(CudaQueue&, const Convert<bfloat16>&);
template void run(CudaQueue&, const Convert<float>&);

}  // namespace engram
