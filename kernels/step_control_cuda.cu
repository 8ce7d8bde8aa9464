#include "kernels/cuda/launch.cuh"
#include "kernels/step_control_impl.h"

namespace engram {
namespace {

// One thread a row of control.
template <class T>
__global__ void __launch_bounds__(kBlockSize) control_kernel(StepControl<T> a) {
  const int64_t row = thread_index();
  if (row >= a.control.size(0)) return;
  const T loss = a.sums(0), both = a.sums(1) + a.sums(2);
  const bool apply = isfinite(loss) && isfinite(both);
  a.control(row, 0) = apply ? 1 : 0;
  if (!apply) return;
  const T norm = sqrt(a.options.separate ? a.sums(1 + row) : both), limit = a.options.clip_norm;
  const T num_updates = a.control(row, 2) + 1;
  const int64_t count = static_cast<int64_t>(num_updates), last = a.lr_ratios.size(0);
  a.control(row, 1) = limit == 0 ? T(1) : min(T(1), limit / (norm + 1e-6));
  a.control(row, 2) = num_updates;
  a.control(row, 3) = a.lr_ratios((count < last ? count : last) - 1);
}

}  // namespace

template <class T>
void run(CudaQueue& queue, const StepControl<T>& a) {
  launch_each(queue, control_kernel<T>, a.control.size(0), a);
}

template void run(CudaQueue&, const StepControl<double>&);

}  // namespace engram
