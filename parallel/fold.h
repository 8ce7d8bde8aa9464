#pragma once

#include <span>

#include "kernels/core/dtype.h"

namespace engram {

// sum[i] = ((parts[0][i] + parts[1][i]) + parts[2][i]) + ... in the dtype itself (integers wrap), for i < num_elements.
// sum may be one of the parts. dtype is float32, float64, int32 or int64; throws Error for any other.
void fold_sum(DType dtype, std::span<const void* const> parts, void* sum, int64_t num_elements);

}  // namespace engram
