#include "kernels/cuda/launch.cuh"
#include "kernels/step_control_impl.h"

namespace engram {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockSize) control_kernel(StepControl<T> a) {
  if (thread_index() == 0) control_step(a);
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const StepControl<T>& a) {
  launch_each(queue, control_kernel<T>, 1, a);
}

template void run(CudaQueue&, const StepControl<double>&);

}  // namespace engram
