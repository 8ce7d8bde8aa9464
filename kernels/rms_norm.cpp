#include "kernels/rms_norm.h"

#include "kernels/core/dispatch.h"
#include "kernels/rms_norm_impl.h"

namespace engram {
namespace {

// The form that both entry points share; delta and sum are empty where nothing is added.
void forward(Stream& stream, const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& sum,
             const Tensor& y, const Tensor& inv_rms) {
  const int64_t num_rows = x.size(0), width = x.size(1);
  check_tensor("rms_norm: x", x, x.dtype, {-1, -1});
  check_tensor("rms_norm: weight", weight, x.dtype, {width});
  check_tensor("rms_norm: y", y, x.dtype, {num_rows, width});
  check_tensor("rms_norm: inv_rms", inv_rms, accumulator(x.dtype), {num_rows});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("rms_norm", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, RmsNormForward<T>{.x = view<const T, 2>(x),
                                 .delta = optional_view<const T, 2>(delta),
                                 .weight = view<const T, 1>(weight),
                                 .eps = static_cast<Accumulator<T>>(eps),
                                 .sum = optional_view<T, 2>(sum),
                                 .y = view<T, 2>(y),
                                 .inv_rms = view<Accumulator<T>, 1>(inv_rms)});
  });
}

}  // namespace

void rms_norm_forward(Stream& stream, const Tensor& x, const Tensor& weight, double eps, const Tensor& y,
                      const Tensor& inv_rms) {
  forward(stream, x, {}, weight, eps, {}, y, inv_rms);
}

void add_rms_norm_forward(Stream& stream, const Tensor& x, const Tensor& delta, const Tensor& weight, double eps,
                          const Tensor& sum, const Tensor& y, const Tensor& inv_rms) {
  check_tensor("rms_norm: delta", delta, x.dtype, {x.size(0), x.size(1)});
  check_tensor("rms_norm: sum", sum, x.dtype, {x.size(0), x.size(1)});
  forward(stream, x, delta, weight, eps, sum, y, inv_rms);
}

void rms_norm_backward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dy,
                       const Tensor& dsum, const Tensor& dx, const Tensor& dweight) {
  const int64_t num_rows = x.size(0), width = x.size(1);
  check_tensor("rms_norm: x", x, x.dtype, {-1, -1});
  check_tensor("rms_norm: weight", weight, x.dtype, {width});
  check_tensor("rms_norm: inv_rms", inv_rms, accumulator(x.dtype), {num_rows});
  check_tensor("rms_norm: dy", dy, x.dtype, {num_rows, width});
  check_tensor("rms_norm: dx", dx, x.dtype, {num_rows, width});
  check_tensor("rms_norm: dweight", dweight, accumulator(x.dtype), {width});
  if (!dsum.empty()) check_tensor("rms_norm: dsum", dsum, x.dtype, {num_rows, width});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>("rms_norm", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, RmsNormBackward<T>{.x = view<const T, 2>(x),
                                  .weight = view<const T, 1>(weight),
                                  .inv_rms = view<const Accumulator<T>, 1>(inv_rms),
                                  .dy = view<const T, 2>(dy),
                                  .dsum = optional_view<const T, 2>(dsum),
                                  .dx = view<T, 2>(dx),
                                  .dweight = view<Accumulator<T>, 1>(dweight)});
  });
}

}  // namespace engram
