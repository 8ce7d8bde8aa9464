#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace engram {

template <class T>
struct RowSegmentSum {
  View<const T, 2> values;
  View<const int32_t, 1> order;
  View<const int32_t, 1> offsets;
  View<Accumulator<T>, 2> sums;
};

template <class T>
void run(CpuQueue&, const RowSegmentSum<T>&);
template <class T>
void run(CudaQueue&, const RowSegmentSum<T>&);

}  // namespace engram
