#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/step_control.h"

namespace engram {

template <class T>
struct StepControl {
  View<const T, 1> sums;
  View<const T, 1> lr_ratios;
  StepControlOptions options;
  View<T, 2> control;
};

template <class T>
void run(CpuQueue&, const StepControl<T>&);
template <class T>
void run(CudaQueue&, const StepControl<T>&);

}  // namespace engram
