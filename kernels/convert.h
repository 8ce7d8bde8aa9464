#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// y = x in y's dtype: float32 to bfloat16 (rounds to nearest even; NaN stays NaN) or bfloat16 to float32 (exact). One
// shape; y may not overlap x. Throws Error where a shape or the pair of dtypes does not fit.
void convert(Stream& stream, const Tensor& x, const Tensor& y);

}  // namespace engram
