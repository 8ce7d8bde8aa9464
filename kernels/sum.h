#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// total[0] += sum of x over all elements, added in double in a fixed order that depends on the number of elements
// alone.
//
//   x      any shape, float32 or float64
//   total  [1]  float64; added to
//
// Throws Error where a dtype or shape does not fit.
void sum(Stream& stream, const Tensor& x, const Tensor& total);

}  // namespace engram
