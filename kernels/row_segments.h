#pragma once

#include "kernels/core/tensor.h"

namespace engram {

// Which of n values belong to which row: those of row j are order[offsets[j]], order[offsets[j] + 1], ..., up to but
// without order[offsets[j + 1]], ascending.
struct RowSegments {
  Tensor order;    // [n] int32
  Tensor offsets;  // [num_rows + 1] int32
};

}  // namespace engram
