#include <algorithm>

#include "kernels/row_gather_impl.h"

namespace engram {

template <class T, class Out>
void run(CpuQueue& queue, const RowGather<T, Out>& a) {
  const int64_t width = a.rows.size(1);
  queue.for_each_row(a.index.size(0), [&](int64_t i) {
    Out* out = a.out.row(i);
    const int64_t row = a.index(i);
    if (row < 0)
      std::fill(out, out + width, Out(0));
    else
      std::transform(a.rows.row(row), a.rows.row(row) + width, out, [](T value) { return Out(value); });
  });
}

template void run(CpuQueue&, const RowGather<float, float>&);
template void run(CpuQueue&, const RowGather<float, bfloat16>&);
template void run(CpuQueue&, const RowGather<double, double>&);

}  // namespace engram
