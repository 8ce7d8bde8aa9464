#pragma once

#include "kernels/core/stream.h"
#include "kernels/heads.h"

namespace engram {

// table[p, c] = (cos, sin) of the angle p * theta^(-2c / head_dim), computed in double.
//
//   table  [num_positions, head_dim / 2, 2]  float32 or float64
//
// Throws Error where a shape or dtype does not fit or theta is not positive.
void rope_table(Stream& stream, double theta, const Tensor& table);

// An RMSNorm on every head before it is turned (Henry et al. 2020, arXiv:2010.04245, with the norm of Zhang & Sennrich
// 2019): the first num_query_heads of a row take one gain, those after them, the keys, the other.
struct QkNorm {
  Tensor query_gain, key_gain;  // [head_dim], dtype of x; both empty = no norm
  int64_t num_query_heads = 0;
  double eps = 0.0;  // in units of x^2
};

// Rotary position embedding (Su et al. 2021, eq. 34, arXiv:2104.09864) with the half-split pairing of HuggingFace's
// Llama: channel c is paired with c + head_dim / 2. Position s of each sequence takes row s of the table. For each head
//   z[c]                = x[c] * gain[c] / sqrt(mean_c(x[c]^2) + eps), or x[c] without a norm
//   y[c]                = z[c] * cos - z[c + head_dim/2] * sin
//   y[c + head_dim/2]   = z[c] * sin + z[c + head_dim/2] * cos
//
//   x, y   [batch, seq, heads, head_dim]          same dtype; y may be x; head_dim is even
//   table  [at least seq, head_dim / 2, 2]        accumulator(dtype of x); table.rows(p, seq) starts at position p
//
// Throws Error where a shape or dtype does not fit.
void rope_forward(Stream& stream, const HeadSlice& x, const QkNorm& norm, const Tensor& table, const HeadSlice& y);

// With g = dy turned back by the same angles and n = 1 / sqrt(mean_c(x[c]^2) + eps) of a head:
//   dx[c] = n * g[c] * gain[c] - x[c] * n^3 * mean_c(g * gain * x), or g[c] without a norm
//   dquery_gain[c] += sum of g[c] * x[c] * n over all query heads; dkey_gain[c] the same over the key heads.
//
//   x                       as rope_forward read it; not read, and may be empty, without a norm
//   dy, dx                  [batch, seq, heads, head_dim]  dx is written; it may be dy
//   dquery_gain, dkey_gain  [head_dim]  accumulator(dtype of x); added to in a fixed order; empty without a norm
void rope_backward(Stream& stream, const HeadSlice& x, const QkNorm& norm, const Tensor& table, const HeadSlice& dy,
                   const HeadSlice& dx, const Tensor& dquery_gain, const Tensor& dkey_gain);

}  // namespace engram
