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

}  // namespace engram
