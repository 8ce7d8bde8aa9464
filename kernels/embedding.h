#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// y[i, :] = table[tokens[i], :].
//
//   tokens  [n]         int32, each in [0, num_rows); the caller has checked them
//   table   [num_rows, width]
//   y       [n, width]  dtype of table
//
// Throws Error where a shape or dtype does not fit.
void embedding_forward(Stream& stream, const Tensor& tokens, const Tensor& table, const Tensor& y);

// dtable[tokens[i], :] += dy[i, :], in an order that depends on the tokens alone, so that repeated tokens give the same
// bits on every run.
//
//   dy      [n, width]
//   dtable  [num_rows, width]  accumulator(dtype of dy); added to
void embedding_backward(Stream& stream, const Tensor& tokens, const Tensor& dy, const Tensor& dtable);

}  // namespace engram
