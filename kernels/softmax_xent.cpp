#include "kernels/softmax_xent.h"

#include "kernels/core/dispatch.h"
#include "kernels/softmax_xent_impl.h"

namespace engram {

void softmax_xent(Stream& stream, const Tensor& logits, const Tensor& targets, double scale, const Tensor& loss,
                  const Tensor& dlogits) {
  check_tensor("softmax_xent: logits", logits, logits.dtype, {-1, -1});
  const int64_t num_rows = logits.size(0), vocabulary = logits.size(1);
  check_tensor("softmax_xent: targets", targets, DType::kInt32, {num_rows});
  check_tensor("softmax_xent: loss", loss, accumulator(logits.dtype), {num_rows});
  if (!dlogits.empty()) check_tensor("softmax_xent: dlogits", dlogits, logits.dtype, {num_rows, vocabulary});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "softmax_xent", stream, logits.dtype, [&]<class T>(auto& queue) {
        run(queue, SoftmaxXent<T>{.logits = view<const T, 2>(logits),
                                  .targets = view<const int32_t, 1>(targets),
                                  .scale = static_cast<Accumulator<T>>(scale),
                                  .loss = view<Accumulator<T>, 1>(loss),
                                  .dlogits = optional_view<T, 2>(dlogits)});
      });
}

}  // namespace engram
