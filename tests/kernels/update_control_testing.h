#pragma once

#include "kernels/update_control.h"
#include "tests/testing.h"

namespace engram::test {

// A control as step_control() makes it, in host memory.
inline Tensor control_tensor(Arena& arena, const UpdateControl& control) {
  return tensor_of<double>(
      arena,
      {control.apply ? 1.0 : 0.0, control.grad_scale, static_cast<double>(control.num_updates), control.lr_ratio},
      {kNumUpdateControls});
}

}  // namespace engram::test
