#include "kernels/cpu_math.h"
#include "kernels/global_norm_impl.h"

namespace engram {

template <class T>
void run(CpuQueue&, const SumOfSquares<T>& a) {
  const T* x = a.x.data;
  a.total(0) += lane_sum<double>(a.x.size(0), [x](int64_t i) { return double{x[i]} * double{x[i]}; });
}

template void run(CpuQueue&, const SumOfSquares<float>&);
template void run(CpuQueue&, const SumOfSquares<double>&);

}  // namespace engram
