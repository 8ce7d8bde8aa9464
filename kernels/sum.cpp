#include "kernels/sum.h"

#include "kernels/core/dispatch.h"
#include "kernels/sum_impl.h"

namespace engram {

void sum(Stream& stream, const Tensor& x, const Tensor& total) {
  check_tensor("sum: total", total, DType::kFloat64, {1});
  dispatch<Cpu<float, double>, Cuda<float, double>>("sum", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, Sum<T>{.x = flat_view<const T>(x), .total = view<double, 1>(total)});
  });
}

}  // namespace engram
