#pragma once

#include "kernels/core/rng.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

struct RandomFill {
  uint64_t seed = 0;
  RandomDomain domain = RandomDomain::kDenseInit;
  uint32_t tensor = 0;       // number of the tensor within the domain
  uint64_t first_index = 0;  // number of values[0]
  double mean = 0.0;
  double deviation = 1.0;
};

// values[i] = mean + deviation * normal(seed, domain, tensor, first_index + i), see rng.h, computed in double and
// rounded once more: the same bits on every device. Any rank, any dtype of float.
void fill_normal(Stream& stream, const Tensor& values, const RandomFill& fill);

}  // namespace engram
