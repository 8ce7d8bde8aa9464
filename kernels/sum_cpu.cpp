#include "kernels/sum_impl.h"

namespace engram {

template <class T>
void run(CpuQueue& queue, const Sum<T>& a) {
  double total = a.total(0);
  queue.for_each_row(a.x.size(0), [&](int64_t i) { total += double{a.x.data[i]}; });
  a.total(0) = total;
}

template void run(CpuQueue&, const Sum<float>&);
template void run(CpuQueue&, const Sum<double>&);

}  // namespace engram
