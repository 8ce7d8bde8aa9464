#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Cross-entropy of softmax(logits) and its gradient in one pass over a chunk of rows. For each row i whose target is
// not -1:
//   loss[i] = log sum_c exp(logits[i, c]) - logits[i, targets[i]]
//   dlogits[i, c] = scale * (softmax(logits[i])[c] - (c == targets[i]))
// and 0 for both where the target is -1.
//
//   logits   [n, vocabulary]
//   targets  [n]              int32, -1 or in [0, vocabulary); the caller has checked them
//   scale                     factor of the gradient alone, for example 1 / number of targets
//   loss     [n]              accumulator(dtype of logits), not scaled
//   dlogits  [n, vocabulary]  dtype of logits; may be logits; empty: the loss alone is computed
//
// Throws Error where a shape or dtype does not fit.
void softmax_xent(Stream& stream, const Tensor& logits, const Tensor& targets, double scale, const Tensor& loss,
                  const Tensor& dlogits);

}  // namespace engram
