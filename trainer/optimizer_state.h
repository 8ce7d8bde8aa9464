#pragma once

#include <string>
#include <vector>

#include "kernels/core/tensor.h"

namespace engram {

// One array of an optimizer's state. Checkpoints, estimates and resharding walk lists of these and never name an
// optimizer. Dense state is [part_size], like the owned part of the flat parameters; table state is [num_slots, ...],
// like the table.
struct OptimizerArray {
  std::string name;
  Tensor value;
};
using OptimizerState = std::vector<OptimizerArray>;

}  // namespace engram
