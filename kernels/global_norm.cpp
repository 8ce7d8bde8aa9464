#include "kernels/global_norm.h"

#include "kernels/core/dispatch.h"
#include "kernels/global_norm_impl.h"

namespace engram {

void sum_of_squares(Stream& stream, const Tensor& x, const Tensor& total) {
  check_tensor("sum_of_squares: total", total, DType::kFloat64, {1});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "sum_of_squares", stream, x.dtype, [&]<class T>(auto& queue) {
        run(queue, SumOfSquares<T>{.x = flat_view<const T>(x), .total = view<double, 1>(total)});
      });
}

}  // namespace engram
