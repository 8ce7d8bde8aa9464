#include "kernels/router.h"

#include "kernels/core/dispatch.h"
#include "kernels/router_impl.h"

namespace engram {
namespace {

void check(const Tensor& logits, const Tensor& expert, const RouterOptions& options) {
  check_tensor("router: logits", logits, logits.dtype, {-1, -1});
  ENGRAM_CHECK(options.top_k >= 1 && options.top_k <= logits.size(1), "router: top_k ", options.top_k,
               "; wanted 1 to the number of experts, ", logits.size(1));
  check_tensor("router: expert", expert, DType::kInt32, {logits.size(0), options.top_k});
}

}  // namespace

void router_forward(Stream& stream, const Tensor& logits, const Tensor& bias, const RouterOptions& options,
                    const Tensor& expert, const Tensor& weight, const Tensor& load) {
  check(logits, expert, options);
  check_tensor("router: bias", bias, logits.dtype, {logits.size(1)});
  check_tensor("router: weight", weight, logits.dtype, {logits.size(0), options.top_k});
  check_tensor("router: load", load, DType::kInt64, {logits.size(1)});
  dispatch<Cpu<float, double>, Cuda<float, double>>("router", stream, logits.dtype, [&]<class T>(auto& queue) {
    run(queue, RouterForward<T>{.logits = view<const T, 2>(logits),
                                .bias = view<const T, 1>(bias),
                                .scale = static_cast<T>(options.scale),
                                .expert = view<int32_t, 2>(expert),
                                .weight = view<T, 2>(weight),
                                .load = view<int64_t, 1>(load)});
  });
}

void router_backward(Stream& stream, const Tensor& logits, const Tensor& expert, const Tensor& dweight,
                     const RouterOptions& options, const Tensor& dlogits) {
  check(logits, expert, options);
  check_tensor("router: logits", logits, accumulator(dlogits.dtype), {-1, -1});
  check_tensor("router: dweight", dweight, logits.dtype, {logits.size(0), options.top_k});
  check_tensor("router: dlogits", dlogits, dlogits.dtype, {logits.size(0), logits.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "router", stream, dlogits.dtype, [&]<class T>(auto& queue) {
        using Acc = Accumulator<T>;
        run(queue, RouterBackward<T>{.logits = view<const Acc, 2>(logits),
                                     .expert = view<const int32_t, 2>(expert),
                                     .dweight = view<const Acc, 2>(dweight),
                                     .scale = static_cast<Acc>(options.scale),
                                     .dlogits = view<T, 2>(dlogits)});
      });
}

void router_update_bias(Stream& stream, const Tensor& control, const Tensor& load, double rate, const Tensor& bias) {
  check_tensor("router: control", control, DType::kFloat64, {kNumUpdateControls});
  check_tensor("router: load", load, DType::kInt64, {-1, -1});
  check_tensor("router: bias", bias, bias.dtype, {load.size(0), load.size(1)});
  dispatch<Cpu<float, double>, Cuda<float, double>>("router", stream, bias.dtype, [&]<class T>(auto& queue) {
    run(queue, RouterUpdateBias<T>{.control = view<const double, 1>(control),
                                   .load = view<const int64_t, 2>(load),
                                   .rate = static_cast<T>(rate),
                                   .bias = view<T, 2>(bias)});
  });
}

}  // namespace engram
