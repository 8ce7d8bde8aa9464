#include "kernels/row_segment_sum_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const RowSegmentSum<T>& a) {
  const int64_t width = a.values.size(1);
  queue.for_each_row(a.index.size(0), [&](int64_t i) {
    const int64_t row = a.index(i);
    if (row < 0) return;
    const T* values = a.values.row(i);
    T* sums = a.sums.row(row);
    for (int64_t c = 0; c < width; ++c) sums[c] += values[c];
  });
}

template void run(CpuQueue&, const RowSegmentSum<float>&);
template void run(CpuQueue&, const RowSegmentSum<double>&);

}  // namespace engram
