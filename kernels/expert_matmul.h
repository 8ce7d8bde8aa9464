#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// One matrix product per expert over rows sorted by expert: y[r, :] = weight[e] x[r, :] for r in
// [offsets[e], offsets[e + 1]).
//
//   x        [num_rows, in]
//   weight   [num_experts, out, in]  dtype of x
//   offsets  [num_experts + 1]       int64, ascending from 0 to num_rows (see expert_permute_plan)
//   y        [num_rows, out]         dtype of x, written
//
// Throws Error where a shape or dtype does not fit and, on the CPU, for other offsets; here and below.
void expert_matmul_forward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& offsets,
                           const Tensor& y);

// dx[r, :] = weight[e]^T dy[r, :]. dx [num_rows, in] is written.
void expert_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& weight, const Tensor& offsets,
                                  const Tensor& dx);

// dweight[e] += sum over the rows of e of dy[r, :] x[r, :]^T; an expert without rows gets nothing.
//
//   dweight  [num_experts, out, in]  accumulator dtype of x, added to
void expert_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& offsets,
                                   const Tensor& dweight);

}  // namespace engram
