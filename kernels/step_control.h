#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// What step_control() knows of earlier steps, [kSpikeGuard] float64: how many it has recorded; 1 where the last one was
// a spike; the losses of the last kSpikeWindow, that of step i at 2 + i mod kSpikeWindow; as many norms.
inline constexpr int64_t kSpikeWindow = 128, kSpikeGuard = 2 + 2 * kSpikeWindow;

struct StepControlOptions {
  double clip_norm = 0;      // largest norm of the gradient; 0 = no clipping
  bool separate = false;     // one norm for the tables and one for the rest, instead of one for both
  double spike_sigma = 6;    // standard deviations over the mean from which on a loss or a norm is a spike
  bool skip_spikes = false;  // a spike does not update
};

// Decides on the device whether and how a step updates. With S the sum of squares that a row of control goes by (its
// own where `separate`, both otherwise): where loss and sums of squares are finite,
//   apply = 1;  num_updates += 1;  lr_ratio = lr_ratios[min(num_updates, n) - 1];
//   grad_scale = min(1, clip_norm / (sqrt(S) + 1e-6)), 1 where clip_norm is 0;
// otherwise apply = 0, and the rest stays as it is.
//
// A finite step is a spike where its loss, or its norm over all gradients, is above mean + spike_sigma * deviation of
// the last kSpikeWindow ones (no step is before there are as many). It is recorded as that limit, so that one spike
// does not hide the next, and a lasting change is accepted in the end. Other finite steps are recorded as they are.
//
//   sums       [3]     float64: loss, squares of the dense gradients, squares of the tables' gradients, over all ranks
//   lr_ratios  [n]     float64, n >= 1: the schedule's factor for applied update 1, 2, ..
//   guard      [kSpikeGuard]  float64, in place; zeros before the first step
//   control    [2, 4]  float64, in place: what update_control.h says, of the dense part and of the tables
//
// Throws Error where a shape or dtype does not fit.
void step_control(Stream& stream, const Tensor& sums, const Tensor& lr_ratios, const StepControlOptions& options,
                  const Tensor& guard, const Tensor& control);

}  // namespace engram
