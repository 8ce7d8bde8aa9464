#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// sums[index[i], :] += values[i, :], in ascending i, so that the bits do not depend on how the work is divided; rows
// whose index is -1 are left out.
//
//   values  [n, width]
//   index   [n]                int64, in [-1, num_rows)
//   sums    [num_rows, width]  accumulator dtype of values, added to
//
// Throws Error where a shape or dtype does not fit.
void row_segment_sum(Stream& stream, const Tensor& values, const Tensor& index, const Tensor& sums);

}  // namespace engram
