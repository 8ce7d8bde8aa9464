#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// table[p, c] = (cos, sin) of the angle p * theta^(-2c / head_dim), computed in double.
//
//   table  [num_positions, head_dim / 2, 2]  float32 or float64
//
// Throws Error where a shape or dtype does not fit or theta is not positive.
void rope_table(Stream& stream, double theta, const Tensor& table);

// Rotary position embedding (Su et al. 2021, eq. 34, arXiv:2104.09864) with the half-split pairing of HuggingFace's
// Llama: channel c is paired with c + head_dim / 2. Position s of each sequence takes row s of the table:
//   y[c]                = x[c] * cos - x[c + head_dim/2] * sin
//   y[c + head_dim/2]   = x[c] * sin + x[c + head_dim/2] * cos
//
//   x, y   [batch, seq, heads, head_dim]          same dtype; y may be x; head_dim is even
//   table  [at least seq, head_dim / 2, 2]        accumulator(dtype of x); table.rows(p, seq) starts at position p
//
// Throws Error where a shape or dtype does not fit.
void rope_forward(Stream& stream, const Tensor& x, const Tensor& table, const Tensor& y);

// dx = dy turned back by the same angles.
//
//   dy, dx  [batch, seq, heads, head_dim]  dx is written; it may be dy
void rope_backward(Stream& stream, const Tensor& dy, const Tensor& table, const Tensor& dx);

}  // namespace engram
