#include <algorithm>

#include "kernels/row_gather_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const RowGather<T>& a) {
  const int64_t width = a.rows.size(1);
  queue.for_each_row(a.index.size(0), [&](int64_t i) {
    T* out = a.out.row(i);
    const int64_t row = a.index(i);
    if (row < 0)
      std::fill(out, out + width, T(0));
    else
      std::copy(a.rows.row(row), a.rows.row(row) + width, out);
  });
}

template void run(CpuQueue&, const RowGather<float>&);
template void run(CpuQueue&, const RowGather<double>&);

}  // namespace engram
