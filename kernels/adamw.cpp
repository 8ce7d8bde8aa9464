#include "kernels/adamw.h"

#include "kernels/adamw_impl.h"
#include "kernels/core/dispatch.h"

namespace engram {

void adamw_update(Stream& stream, const AdamWOptions& options, const Tensor& control, const Tensor& weight,
                  const Tensor& grad, const Tensor& m, const Tensor& v, const Tensor& rounded) {
  for (const double beta : {options.beta1, options.beta2}) {
    ENGRAM_CHECK(beta >= 0 && beta < 1, "adamw: a beta is ", beta, "; wanted at least 0 and below 1");
  }
  check_tensor("adamw: control", control, DType::kFloat64, {kNumUpdateControls});
  check_tensor("adamw: weight", weight, weight.dtype, {-1});
  check_tensor("adamw: grad", grad, weight.dtype, {weight.size(0)});
  const DType moment = m.dtype == DType::kBFloat16 ? m.dtype : weight.dtype;
  for (const Tensor& tensor : {m, v}) check_tensor("adamw: m or v", tensor, moment, {weight.size(0)});
  if (!rounded.empty()) check_tensor("adamw: rounded", rounded, DType::kBFloat16, {weight.size(0)});
  dispatch<Cpu<float, double>, Cuda<float, double>>("adamw", stream, weight.dtype, [&]<class T>(auto& queue) {
    const auto run_with = [&]<class M>(M) {
      run(queue, AdamW<T, M>{.control = view<const double, 1>(control),
                             .weight = view<T, 1>(weight),
                             .grad = view<const T, 1>(grad),
                             .m = view<M, 1>(m),
                             .v = view<M, 1>(v),
                             .rounded = optional_view<bfloat16, 1>(rounded),
                             .options = options});
    };
    if (moment == DType::kBFloat16) {
      run_with(bfloat16{});
    } else {
      run_with(T{});
    }
  });
}

}  // namespace engram
