#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// y[r, c] = x[r, c] + bias[c].
//
//   x, y  [num_rows, width]  same dtype; y may be x
//   bias  [width]            dtype of x
//
// Throws Error where a shape or dtype does not fit.
void add_bias_forward(Stream& stream, const Tensor& x, const Tensor& bias, const Tensor& y);

// dbias[c] += sum over rows of dy[r, c]. The gradient of x is dy itself.
//
//   dbias  [width]  accumulator dtype of dy, added to
void add_bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias);

}  // namespace engram
