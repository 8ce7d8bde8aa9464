#include <algorithm>

#include "kernels/row_segment_sum_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const RowSegmentSum<T>& a) {
  const int64_t width = a.values.size(1);
  queue.for_each_row(a.sums.size(0), [&](int64_t row) {
    T* sums = a.sums.row(row);
    std::fill_n(sums, width, T(0));
    for (int32_t k = a.offsets(row); k < a.offsets(row + 1); ++k) {
      const T* values = a.values.row(a.order(k));
      for (int64_t c = 0; c < width; ++c) sums[c] += values[c];
    }
  });
}

template void run(CpuQueue&, const RowSegmentSum<float>&);
template void run(CpuQueue&, const RowSegmentSum<double>&);

}  // namespace engram
