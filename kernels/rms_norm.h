#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// y[r, c] = x[r, c] * inv_rms[r] * weight[c], with inv_rms[r] = 1 / sqrt(mean_c(x[r, c]^2) + eps).
//
//   x, y     [num_rows, width]  same dtype; y may be x
//   weight   [width]            dtype of x
//   inv_rms  [num_rows]         accumulator(dtype of x); kept for rms_norm_backward
//   eps                         in units of x^2
//
// Throws Error where a shape or dtype does not fit. Source: Zhang & Sennrich 2019, eq. 4 (arXiv:1910.07467).
void rms_norm_forward(Stream& stream, const Tensor& x, const Tensor& weight, double eps, const Tensor& y,
                      const Tensor& inv_rms);

// sum = x + delta, then rms_norm_forward on the sum: the residual addition and the norm in one pass.
//
//   x, delta, sum, y  [num_rows, width]  same dtype; sum may be x or delta
void add_rms_norm_forward(Stream& stream, const Tensor& x, const Tensor& delta, const Tensor& weight, double eps,
                          const Tensor& sum, const Tensor& y, const Tensor& inv_rms);

// With g[c] = dy[c] * weight[c] and n = inv_rms (row index left out):
//   dx[c] = n * g[c] - x[c] * n^3 * mean_c(g * x) + dsum[c];   dweight[c] += sum over rows of dy[c] * x[c] * n.
//
//   x        [num_rows, width]  what was normed (the sum, after add_rms_norm_forward)
//   dy, dx   [num_rows, width]  dx is written; it may be dy or dsum
//   dsum     [num_rows, width]  gradient that reaches x past the norm; may be empty
//   dweight  [width]            accumulator(dtype of x); added to
void rms_norm_backward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dy,
                       const Tensor& dsum, const Tensor& dx, const Tensor& dweight);

}  // namespace engram
