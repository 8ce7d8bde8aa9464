#pragma once

#include "kernels/core/stream.h"
#include "kernels/row_segments.h"

namespace engram {

// The distinct keys in ascending order, where each key went, and where each of the distinct ones stood:
// keys[i] == unique[inverse[i]]. A key of -1 stands for none: it is left out, and its inverse is -1.
//
//   keys      [n]  int64, -1 or in [0, end); the fewer bits end has, the faster
//   unique    [n]  int64; the first count[0] elements are written
//   inverse   [n]  int64, written
//   segments  the keys equal to each of unique: order [n], offsets [n + 1]; written for the first count[0] rows
//   count     [1]  int64, written
//
// No output may be keys. Throws Error where a shape or dtype does not fit, or n is 2^31 or more.
void unique_rows(Stream& stream, const Tensor& keys, int64_t end, const Tensor& unique, const Tensor& inverse,
                 const RowSegments& segments, const Tensor& count);

}  // namespace engram
