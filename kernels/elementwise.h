#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Element by element over tensors of one shape, whatever its rank. Each throws Error where a shape or dtype does not
// fit.

// sum = a + b; one dtype, sum may be a or b.
void add(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& sum);

// y += x; y has accumulator(dtype of x).
void accumulate(Stream& stream, const Tensor& x, const Tensor& y);

// y = factor * x; one dtype, y may be x. The factor is rounded to accumulator(dtype of x).
void scale(Stream& stream, double factor, const Tensor& x, const Tensor& y);

}  // namespace engram
