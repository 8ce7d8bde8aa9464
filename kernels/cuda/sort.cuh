#pragma once

#include <cstdint>

#include "kernels/core/stream.h"

namespace engram {

// sorted: the keys in ascending order; position: where each of them stood, ascending among equal keys. Both have room
// for `count` elements and are device memory, as keys is.
void sort_with_positions(CudaQueue& queue, const int64_t* keys, int64_t count, int64_t* sorted, int64_t* position);

// values[i] = values[0] + ... + values[i], in place.
void inclusive_sum(CudaQueue& queue, int64_t* values, int64_t count);

}  // namespace engram
