#include "kernels/swiglu.h"

#include "kernels/core/dispatch.h"
#include "kernels/swiglu_impl.h"

namespace engram {
namespace {

// weight and choice are empty where rows have no weights, as is dweight.
void forward(Stream& stream, const Tensor& gate_up, const Tensor& weight, const Tensor& choice, const Tensor& y) {
  check_tensor("swiglu: y", y, gate_up.dtype, {-1, -1});
  check_tensor("swiglu: gate_up", gate_up, gate_up.dtype, {y.size(0), 2 * y.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "swiglu", stream, gate_up.dtype, [&]<class T>(auto& queue) {
        run(queue, SwigluForward<T>{.gate_up = view<const T, 2>(gate_up),
                                    .weight = optional_view<const Accumulator<T>, 2>(weight),
                                    .choice = optional_view<const int64_t, 1>(choice),
                                    .y = view<T, 2>(y)});
      });
}

void backward(Stream& stream, const Tensor& gate_up, const Tensor& weight, const Tensor& choice, const Tensor& dy,
              const Tensor& dgate_up, const Tensor& dweight) {
  check_tensor("swiglu: dy", dy, gate_up.dtype, {-1, -1});
  check_tensor("swiglu: gate_up", gate_up, gate_up.dtype, {dy.size(0), 2 * dy.size(1)});
  check_tensor("swiglu: dgate_up", dgate_up, gate_up.dtype, {dy.size(0), 2 * dy.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "swiglu", stream, gate_up.dtype, [&]<class T>(auto& queue) {
        run(queue, SwigluBackward<T>{.gate_up = view<const T, 2>(gate_up),
                                     .weight = optional_view<const Accumulator<T>, 2>(weight),
                                     .choice = optional_view<const int64_t, 1>(choice),
                                     .dy = view<const T, 2>(dy),
                                     .dgate_up = view<T, 2>(dgate_up),
                                     .dweight = optional_view<Accumulator<T>, 2>(dweight)});
      });
}

void check_weights(const Tensor& gate_up, const Tensor& weight, const Tensor& choice) {
  check_tensor("swiglu: choice", choice, DType::kInt64, {gate_up.size(0)});
  check_tensor("swiglu: weight", weight, accumulator(gate_up.dtype), {-1, -1});
  ENGRAM_CHECK(weight.numel() == gate_up.size(0), "swiglu: weight has ", weight.numel(), " elements for ",
               gate_up.size(0), " rows");
}

}  // namespace

void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& y) { forward(stream, gate_up, {}, {}, y); }

void swiglu_backward(Stream& stream, const Tensor& gate_up, const Tensor& dy, const Tensor& dgate_up) {
  backward(stream, gate_up, {}, {}, dy, dgate_up, {});
}

void weighted_swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& weight, const Tensor& choice,
                             const Tensor& y) {
  check_weights(gate_up, weight, choice);
  forward(stream, gate_up, weight, choice, y);
}

void weighted_swiglu_backward(Stream& stream, const Tensor& gate_up, const Tensor& weight, const Tensor& choice,
                              const Tensor& dy, const Tensor& dgate_up, const Tensor& dweight) {
  check_weights(gate_up, weight, choice);
  check_tensor("swiglu: dweight", dweight, weight.dtype, {weight.size(0), weight.size(1)});
  backward(stream, gate_up, weight, choice, dy, dgate_up, dweight);
}

}  // namespace engram
