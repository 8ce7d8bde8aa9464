#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Where each (token, choice) stands when they are sorted by expert, and the other way round. The order is stable:
// within an expert the tokens stay in order, and the rows of expert e are [offsets[e], offsets[e + 1]).
struct ExpertPlan {
  Tensor offsets;  // [num_experts + 1] int64
  Tensor slot;     // [num_tokens, top_k] int64: a permutation of [0, num_tokens * top_k)
  Tensor choice;   // [num_tokens * top_k] int64, its inverse: choice[slot[t, i]] = t * top_k + i
};

// Writes the plan's three tensors.
//
//   expert  [num_tokens, top_k]  int32, in [0, num_experts)
//
// Throws Error where a shape or dtype does not fit, here and below.
void expert_permute_plan(Stream& stream, const Tensor& expert, const ExpertPlan& plan);

// sorted[slot[t, i], :] = x[t, :].
//
//   x       [num_tokens, width]
//   slot    [num_tokens, top_k]          int64, of the plan
//   sorted  [num_tokens * top_k, width]  dtype of x, which may be int32 too; written
void permute(Stream& stream, const Tensor& x, const Tensor& slot, const Tensor& sorted);

// y[t, :] = sum over i, in order, of sorted[slot[t, i], :], then + addend[t, :]: the combination of the experts'
// outputs, and the gradient of permute.
//
//   sorted     [num_tokens * top_k, width]
//   addend, y  [num_tokens, width]  dtype of sorted; addend may be empty; y is written and may be addend
void unpermute(Stream& stream, const Tensor& sorted, const Tensor& slot, const Tensor& addend, const Tensor& y);

}  // namespace engram
