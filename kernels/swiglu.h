#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// y[r, c] = silu(gate[r, c]) * up[r, c], with silu(x) = x * sigmoid(x).
//
//   gate_up  [num_rows, 2 * width]  the gate half first, then the up half
//   y        [num_rows, width]      same dtype
//
// Throws Error where a shape or dtype does not fit. Source: Shazeer 2020 (arXiv:2002.05202), eq. 6.
void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& y);

// dgate = dy * up * silu'(gate), dup = dy * silu(gate), with silu'(x) = s * (1 + x * (1 - s)), s = sigmoid(x).
//
//   dy        [num_rows, width]
//   dgate_up  [num_rows, 2 * width]  written; may be gate_up
void swiglu_backward(Stream& stream, const Tensor& gate_up, const Tensor& dy, const Tensor& dgate_up);

// For rows that stand sorted by expert, each weighted by the router: y[r, c] = w_r * silu(gate[r, c]) * up[r, c] with
// w_r = weight[choice[r]]. What follows is linear, so that the sum over a token's experts needs no weights any more.
//
//   weight  [num_tokens, top_k]    accumulator(dtype of gate_up)
//   choice  [num_tokens * top_k]   int64, a permutation; see ExpertPlan
void weighted_swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& weight, const Tensor& choice,
                             const Tensor& y);

// As swiglu_backward with w_r * dy, and dweight[choice[r]] = sum over c of dy[r, c] * silu(gate[r, c]) * up[r, c].
//
//   dweight  [num_tokens, top_k]  accumulator(dtype of gate_up), written
void weighted_swiglu_backward(Stream& stream, const Tensor& gate_up, const Tensor& weight, const Tensor& choice,
                              const Tensor& dy, const Tensor& dgate_up, const Tensor& dweight);

}  // namespace engram
