#include "kernels/adamw.h"

#include <cmath>

#include "kernels/adamw_impl.h"
#include "kernels/core/dispatch.h"

namespace engram {
namespace {

void check_options(const AdamWOptions& options) {
  ENGRAM_CHECK(options.step >= 1, "adamw: step is ", options.step, "; updates are counted from 1");
  for (const double beta : {options.beta1, options.beta2}) {
    ENGRAM_CHECK(beta >= 0 && beta < 1, "adamw: a beta is ", beta, "; wanted at least 0 and below 1");
  }
}

}  // namespace

void adamw_update(Stream& stream, const AdamWOptions& options, const Tensor& weight, const Tensor& grad,
                  const Tensor& m, const Tensor& v) {
  check_options(options);
  check_tensor("adamw: weight", weight, weight.dtype, {-1});
  for (const Tensor& tensor : {grad, m, v}) check_tensor("adamw: grad, m or v", tensor, weight.dtype, {weight.size(0)});
  const double step = static_cast<double>(options.step);
  const double correction_m = 1 / (1 - std::pow(options.beta1, step));
  const double correction_v = 1 / (1 - std::pow(options.beta2, step));
  dispatch<Cpu<float, double>, Cuda<float, double>>("adamw", stream, weight.dtype, [&]<class T>(auto& queue) {
    run(queue, AdamW<T>{.weight = view<T, 1>(weight),
                        .grad = view<const T, 1>(grad),
                        .m = view<T, 1>(m),
                        .v = view<T, 1>(v),
                        .grad_scale = T(options.grad_scale),
                        .beta1 = T(options.beta1),
                        .beta2 = T(options.beta2),
                        .one_minus_beta1 = T(1 - options.beta1),
                        .one_minus_beta2 = T(1 - options.beta2),
                        .eps = T(options.eps),
                        .step_size = T(options.learning_rate * correction_m),
                        .correction_v = T(correction_v),
                        .decay = T(options.learning_rate * options.weight_decay)});
  });
}

}  // namespace engram
