#include "kernels/step_control.h"

#include "kernels/core/dispatch.h"
#include "kernels/step_control_impl.h"
#include "kernels/update_control.h"

namespace engram {

void step_control(Stream& stream, const Tensor& sums, const Tensor& lr_ratios, const StepControlOptions& options,
                  const Tensor& guard, const Tensor& control) {
  check_tensor("step_control: sums", sums, DType::kFloat64, {3});
  check_tensor("step_control: lr_ratios", lr_ratios, DType::kFloat64, {-1});
  ENGRAM_CHECK(lr_ratios.size(0) >= 1, "step_control: got no lr_ratios, wanted that of the first update at least");
  check_tensor("step_control: guard", guard, DType::kFloat64, {kSpikeGuard});
  check_tensor("step_control: control", control, DType::kFloat64, {2, kNumUpdateControls});
  dispatch<Cpu<double>, Cuda<double>>("step_control", stream, control.dtype, [&]<class T>(auto& queue) {
    run(queue, StepControl<T>{.sums = view<const T, 1>(sums),
                              .lr_ratios = view<const T, 1>(lr_ratios),
                              .options = options,
                              .guard = view<T, 1>(guard),
                              .control = view<T, 2>(control)});
  });
}

}  // namespace engram
