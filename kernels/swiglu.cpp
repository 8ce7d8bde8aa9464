#include "kernels/swiglu.h"

#include "kernels/core/dispatch.h"
#include "kernels/swiglu_impl.h"

namespace engram {

void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& y) {
  check_tensor("swiglu: y", y, gate_up.dtype, {-1, -1});
  check_tensor("swiglu: gate_up", gate_up, gate_up.dtype, {y.size(0), 2 * y.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "swiglu", stream, gate_up.dtype, [&]<class T>(auto& queue) {
        run(queue, SwigluForward<T>{.gate_up = view<const T, 2>(gate_up), .y = view<T, 2>(y)});
      });
}

void swiglu_backward(Stream& stream, const Tensor& gate_up, const Tensor& dy, const Tensor& dgate_up) {
  check_tensor("swiglu: dy", dy, gate_up.dtype, {-1, -1});
  check_tensor("swiglu: gate_up", gate_up, gate_up.dtype, {dy.size(0), 2 * dy.size(1)});
  check_tensor("swiglu: dgate_up", dgate_up, gate_up.dtype, {dy.size(0), 2 * dy.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "swiglu", stream, gate_up.dtype, [&]<class T>(auto& queue) {
        run(queue,
            SwigluBackward<T>{
                .gate_up = view<const T, 2>(gate_up), .dy = view<const T, 2>(dy), .dgate_up = view<T, 2>(dgate_up)});
      });
}

}  // namespace engram
