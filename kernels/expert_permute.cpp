#include "kernels/expert_permute.h"

#include "kernels/core/dispatch.h"
#include "kernels/expert_permute_impl.h"

namespace engram {
namespace {

// x stands per token, sorted per (token, choice).
void check(const Tensor& x, const Tensor& slot, const Tensor& sorted) {
  check_tensor("expert_permute: token rows", x, x.dtype, {-1, -1});
  check_tensor("expert_permute: slot", slot, DType::kInt64, {x.size(0), -1});
  check_tensor("expert_permute: sorted rows", sorted, x.dtype, {slot.numel(), x.size(1)});
}

}  // namespace

void expert_permute_plan(Stream& stream, const Tensor& expert, const ExpertPlan& plan) {
  check_tensor("expert_permute: expert", expert, DType::kInt32, {-1, -1});
  check_tensor("expert_permute: slot", plan.slot, DType::kInt64, {expert.size(0), expert.size(1)});
  check_tensor("expert_permute: choice", plan.choice, DType::kInt64, {expert.numel()});
  check_tensor("expert_permute: offsets", plan.offsets, DType::kInt64, {-1});
  ENGRAM_CHECK(plan.offsets.size(0) >= 2, "expert_permute: offsets has ", plan.offsets.size(0),
               " elements; wanted one more than there are experts");
  dispatch<Cpu<int32_t>, Cuda<int32_t>>("expert_permute", stream, expert.dtype, [&]<class T>(auto& queue) {
    run(queue, ExpertPermutePlan{.expert = view<const T, 2>(expert),
                                 .offsets = view<int64_t, 1>(plan.offsets),
                                 .slot = view<int64_t, 2>(plan.slot),
                                 .choice = view<int64_t, 1>(plan.choice)});
  });
}

void permute(Stream& stream, const Tensor& x, const Tensor& slot, const Tensor& sorted) {
  check(x, slot, sorted);
  dispatch<Cpu<float, double, int32_t>, Cuda<bfloat16, float, double, int32_t>>(
      "expert_permute", stream, x.dtype, [&]<class T>(auto& queue) {
        run(queue,
            Permute<T>{.x = view<const T, 2>(x), .slot = view<const int64_t, 2>(slot), .sorted = view<T, 2>(sorted)});
      });
}

void unpermute(Stream& stream, const Tensor& sorted, const Tensor& slot, const Tensor& addend, const Tensor& y) {
  check(y, slot, sorted);
  if (!addend.empty()) check_tensor("expert_permute: addend", addend, y.dtype, {y.size(0), y.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "expert_permute", stream, y.dtype, [&]<class T>(auto& queue) {
        run(queue, Unpermute<T>{.sorted = view<const T, 2>(sorted),
                                .slot = view<const int64_t, 2>(slot),
                                .addend = optional_view<const T, 2>(addend),
                                .y = view<T, 2>(y)});
      });
}

}  // namespace engram
