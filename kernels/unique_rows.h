#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// The distinct keys in ascending order, and where each key went: keys[i] == unique[inverse[i]].
//
//   keys     [n]  int64
//   unique   [n]  int64; the first count[0] elements are written
//   inverse  [n]  int64, written
//   count    [1]  int64, written
//
// No output may be keys. Throws Error where a shape or dtype does not fit.
void unique_rows(Stream& stream, const Tensor& keys, const Tensor& unique, const Tensor& inverse, const Tensor& count);

}  // namespace engram
