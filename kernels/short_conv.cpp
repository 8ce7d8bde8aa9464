#include "kernels/short_conv.h"

#include "kernels/core/dispatch.h"
#include "kernels/short_conv_impl.h"

namespace engram {
namespace {

void check(const Tensor& v, const Tensor& gain, const Tensor& weight, const Tensor& starts,
           const ShortConvOptions& options, const Tensor& inv_rms) {
  check_tensor("short_conv: gain", gain, v.dtype, {-1, -1});
  check_tensor("short_conv: v", v, v.dtype, {-1, -1, gain.numel()});
  check_tensor("short_conv: weight", weight, v.dtype, {gain.numel(), -1});
  if (!starts.empty()) check_tensor("short_conv: starts", starts, DType::kUInt8, {v.size(0), v.size(1)});
  check_tensor("short_conv: inv_rms", inv_rms, accumulator(v.dtype), {v.size(0), v.size(1), gain.size(0)});
  ENGRAM_CHECK(options.dilation >= 1, "short_conv: dilation ", options.dilation, "; wanted at least 1");
}

}  // namespace

void short_conv_forward(Stream& stream, const Tensor& v, const Tensor& gain, const Tensor& weight, const Tensor& starts,
                        const ShortConvOptions& options, const Tensor& y, const Tensor& inv_rms) {
  check(v, gain, weight, starts, options, inv_rms);
  check_tensor("short_conv: y", y, v.dtype, {v.size(0), v.size(1), v.size(2)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("short_conv", stream, v.dtype, [&]<class T>(auto& queue) {
    using Acc = Accumulator<T>;
    run(queue, ShortConvForward<T>{.v = view<const T, 3>(v),
                                   .gain = view<const T, 2>(gain),
                                   .weight = view<const T, 2>(weight),
                                   .starts = optional_view<const uint8_t, 2>(starts),
                                   .dilation = options.dilation,
                                   .eps = static_cast<Acc>(options.eps),
                                   .y = view<T, 3>(y),
                                   .inv_rms = view<Acc, 3>(inv_rms)});
  });
}

void short_conv_backward(Stream& stream, const Tensor& v, const Tensor& gain, const Tensor& weight,
                         const Tensor& starts, const ShortConvOptions& options, const Tensor& inv_rms, const Tensor& dy,
                         const ShortConvGradients& gradients) {
  check(v, gain, weight, starts, options, inv_rms);
  check_tensor("short_conv: dy", dy, v.dtype, {v.size(0), v.size(1), v.size(2)});
  check_tensor("short_conv: dv", gradients.dv, v.dtype, {v.size(0), v.size(1), v.size(2)});
  check_tensor("short_conv: dgain", gradients.dgain, accumulator(v.dtype), {gain.size(0), gain.size(1)});
  check_tensor("short_conv: dweight", gradients.dweight, accumulator(v.dtype), {weight.size(0), weight.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("short_conv", stream, v.dtype, [&]<class T>(auto& queue) {
    using Acc = Accumulator<T>;
    run(queue, ShortConvBackward<T>{.v = view<const T, 3>(v),
                                    .gain = view<const T, 2>(gain),
                                    .weight = view<const T, 2>(weight),
                                    .starts = optional_view<const uint8_t, 2>(starts),
                                    .dilation = options.dilation,
                                    .inv_rms = view<const Acc, 3>(inv_rms),
                                    .dy = view<const T, 3>(dy),
                                    .dv = view<T, 3>(gradients.dv),
                                    .dgain = view<Acc, 2>(gradients.dgain),
                                    .dweight = view<Acc, 2>(gradients.dweight)});
  });
}

}  // namespace engram
