#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// total[0] += sum of x^2 over all elements, each squared and added in double in a fixed order that depends on the
// number of elements alone. Infinity and NaN in x reach the total.
//
//   x      any shape, contiguous
//   total  [1]  float64; added to, so that one norm covers many tensors
//
// Throws Error where a shape or dtype does not fit.
void sum_of_squares(Stream& stream, const Tensor& x, const Tensor& total);

}  // namespace engram
