#include "kernels/step_control_impl.h"

namespace engram {

template <class T>
void run(CpuQueue&, const StepControl<T>& a) {
  control_step(a);
}

template void run(CpuQueue&, const StepControl<double>&);

}  // namespace engram
