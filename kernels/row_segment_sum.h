#pragma once

#include "kernels/core/stream.h"
#include "kernels/row_segments.h"

namespace engram {

// sums[j, :] = the sum of values[i, :] over the values i of row j; 0 where it has none. The order of additions is
// fixed, so that the bits do not depend on how the work is divided: ascending i. On CUDA that is so for the first 64
// values of a row; each further 64 are first added up among themselves, and these sums follow in order. (One warp would
// take far too long for a row that half of a batch asks for.)
//
//   values    [n, width]
//   segments  the values of each row, as unique_rows() gives them; offsets may end before n
//   sums      [num_rows, width]  accumulator dtype of values, written
//
// Throws Error where a shape or dtype does not fit.
void row_segment_sum(Stream& stream, const Tensor& values, const RowSegments& segments, const Tensor& sums);

}  // namespace engram
