#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// sums[index[i], :] += values[i, :]; rows whose index is -1 are left out. The order of additions is fixed, so that the
// bits do not depend on how the work is divided: ascending i. On CUDA that is so for the first 64 values of a row; each
// further 64 are first added up among themselves, and these sums follow in order. (One warp would take far too long for
// a row that half of a batch asks for.)
//
//   values  [n, width]
//   index   [n]                int64, in [-1, num_rows)
//   sums    [num_rows, width]  accumulator dtype of values, added to
//
// Throws Error where a shape or dtype does not fit, or n is 2^32 or more on CUDA.
void row_segment_sum(Stream& stream, const Tensor& values, const Tensor& index, const Tensor& sums);

}  // namespace engram
