#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Place of each target among the logits of its row, counted from 1; of equal logits the lower column comes first:
//   ranks[i] = 1 + #{c : logits[i, c] > logits[i, targets[i]]} + #{c < targets[i] : logits[i, c] == logits[i,
//   targets[i]]}
// Rank 1 is the token that greedy decoding takes. A NaN is neither greater nor equal.
//
//   logits   [n, vocabulary]
//   targets  [n]              int32, in [0, vocabulary); the caller has checked them
//   ranks    [n]              int64; written
//
// Throws Error where a shape or dtype does not fit.
void target_rank(Stream& stream, const Tensor& logits, const Tensor& targets, const Tensor& ranks);

}  // namespace engram
