#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // add to c instead of writing it
};

// c = op(a) op(b), or c += op(a) op(b).
//
//   a  [m, k], or [k, m] where transpose_a
//   b  [k, n], or [n, k] where transpose_b    dtype of a
//   c  [m, n]                                 dtype of a or accumulator(dtype of a); must not overlap a or b
//
// Any size may be 0; with k == 0 the product is 0. A linear layer with weight [out, in] is
// y = matmul(x, weight, transpose_b), dx = matmul(dy, weight), dweight += matmul(dy, x, transpose_a, accumulate).
// Throws Error where a shape or dtype does not fit.
void matmul(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& c, const MatmulOptions& options = {});

}  // namespace engram
