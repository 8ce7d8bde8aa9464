#include "kernels/bias.h"

#include "kernels/bias_impl.h"
#include "kernels/core/dispatch.h"

namespace engram {

void add_bias_forward(Stream& stream, const Tensor& x, const Tensor& bias, const Tensor& y) {
  check_tensor("add_bias: x", x, x.dtype, {-1, -1});
  check_tensor("add_bias: bias", bias, x.dtype, {x.size(1)});
  check_tensor("add_bias: y", y, x.dtype, {x.size(0), x.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("add_bias", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, AddBiasForward<T>{.x = view<const T, 2>(x), .bias = view<const T, 1>(bias), .y = view<T, 2>(y)});
  });
}

void add_bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias) {
  check_tensor("add_bias: dy", dy, dy.dtype, {-1, -1});
  check_tensor("add_bias: dbias", dbias, accumulator(dy.dtype), {dy.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("add_bias", stream, dy.dtype, [&]<class T>(auto& queue) {
    run(queue, AddBiasBackward<T>{.dy = view<const T, 2>(dy), .dbias = view<Accumulator<T>, 1>(dbias)});
  });
}

}  // namespace engram
