#pragma once

#include "kernels/core/view.h"

namespace engram {

// What step_control() decided for one optimizer. It lies on the device as [kNumUpdateControls] float64, in this order:
// optimizers read it there, so that the host need not know the decision when it queues the update.
struct UpdateControl {
  bool apply = true;        // false: the update changes nothing
  double grad_scale = 1;    // what the gradient is multiplied by first: clip factor
  int64_t num_updates = 1;  // updates that were applied, this one included: the power in bias corrections
  double lr_ratio = 1;      // factor on the learning rate, by the schedule
};
inline constexpr int64_t kNumUpdateControls = 4;

ENGRAM_HOST_DEVICE inline UpdateControl read_control(const View<const double, 1>& control) {
  return {control(0) != 0, control(1), static_cast<int64_t>(control(2)), control(3)};
}

}  // namespace engram
