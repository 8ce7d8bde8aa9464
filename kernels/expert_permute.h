#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Where each (token, choice) stands when they are sorted by expert. The order is stable: within an expert the tokens
// stay in order, and the rows of expert e are [offsets[e], offsets[e + 1]).
//
//   expert   [num_tokens, top_k]  int32, in [0, num_experts)
//   offsets  [num_experts + 1]    int64, written
//   slot     [num_tokens, top_k]  int64, written: a permutation of [0, num_tokens * top_k)
//
// Throws Error where a shape or dtype does not fit, here and below.
void expert_permute_plan(Stream& stream, const Tensor& expert, const Tensor& offsets, const Tensor& slot);

// sorted[slot[t, i], :] = x[t, :].
//
//   x       [num_tokens, width]
//   sorted  [num_tokens * top_k, width]  same dtype, written
void permute_forward(Stream& stream, const Tensor& x, const Tensor& slot, const Tensor& sorted);

// dx[t, :] = sum over i, in order, of dsorted[slot[t, i], :]. dx is written.
void permute_backward(Stream& stream, const Tensor& dsorted, const Tensor& slot, const Tensor& dx);

// y[t, :] = sum over i, in order, of weight[t, i] * sorted[slot[t, i], :].
//
//   sorted  [num_tokens * top_k, width]
//   weight  [num_tokens, top_k]  accumulator dtype of sorted
//   y       [num_tokens, width]  dtype of sorted, written
void unpermute_forward(Stream& stream, const Tensor& sorted, const Tensor& slot, const Tensor& weight, const Tensor& y);

// dsorted[slot[t, i], :] = weight[t, i] * dy[t, :];  dweight[t, i] = <dy[t, :], sorted[slot[t, i], :]>.
// Both are written; dsorted may be sorted.
void unpermute_backward(Stream& stream, const Tensor& sorted, const Tensor& slot, const Tensor& weight,
                        const Tensor& dy, const Tensor& dsorted, const Tensor& dweight);

}  // namespace engram
