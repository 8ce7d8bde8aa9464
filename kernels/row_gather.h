#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// out[i, :] = rows[index[i], :], bit for bit or rounded to nearest even; zeros where index[i] is -1.
//
//   rows   [num_rows, width]
//   index  [n]         int64, in [-1, num_rows)
//   out    [n, width]  dtype of rows, or bfloat16 where rows is float32; written
//
// Throws Error where a shape or dtype does not fit. The gradient of rows is row_segment_sum.
void row_gather(Stream& stream, const Tensor& rows, const Tensor& index, const Tensor& out);

}  // namespace engram
