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

void expert_permute_plan(Stream& stream, const Tensor& expert, const Tensor& offsets, const Tensor& slot) {
  check_tensor("expert_permute: expert", expert, DType::kInt32, {-1, -1});
  check_tensor("expert_permute: slot", slot, DType::kInt64, {expert.size(0), expert.size(1)});
  check_tensor("expert_permute: offsets", offsets, DType::kInt64, {-1});
  ENGRAM_CHECK(offsets.size(0) >= 2, "expert_permute: offsets has ", offsets.size(0),
               " elements; wanted one more than there are experts");
  dispatch<Cpu<int32_t>, Cuda<int32_t>>("expert_permute", stream, expert.dtype, [&]<class T>(auto& queue) {
    run(queue,
        ExpertPermutePlan{
            .expert = view<const T, 2>(expert), .offsets = view<int64_t, 1>(offsets), .slot = view<int64_t, 2>(slot)});
  });
}

void permute_forward(Stream& stream, const Tensor& x, const Tensor& slot, const Tensor& sorted) {
  check(x, slot, sorted);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "expert_permute", stream, x.dtype, [&]<class T>(auto& queue) {
        run(queue, PermuteForward<T>{
                       .x = view<const T, 2>(x), .slot = view<const int64_t, 2>(slot), .sorted = view<T, 2>(sorted)});
      });
}

void permute_backward(Stream& stream, const Tensor& dsorted, const Tensor& slot, const Tensor& dx) {
  check(dx, slot, dsorted);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "expert_permute", stream, dx.dtype, [&]<class T>(auto& queue) {
        run(queue,
            PermuteBackward<T>{
                .dsorted = view<const T, 2>(dsorted), .slot = view<const int64_t, 2>(slot), .dx = view<T, 2>(dx)});
      });
}

void unpermute_forward(Stream& stream, const Tensor& sorted, const Tensor& slot, const Tensor& weight,
                       const Tensor& y) {
  check(y, slot, sorted);
  check_tensor("expert_permute: weight", weight, accumulator(y.dtype), {slot.size(0), slot.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "expert_permute", stream, y.dtype, [&]<class T>(auto& queue) {
        run(queue, UnpermuteForward<T>{.sorted = view<const T, 2>(sorted),
                                       .slot = view<const int64_t, 2>(slot),
                                       .weight = view<const Accumulator<T>, 2>(weight),
                                       .y = view<T, 2>(y)});
      });
}

void unpermute_backward(Stream& stream, const Tensor& sorted, const Tensor& slot, const Tensor& weight,
                        const Tensor& dy, const Tensor& dsorted, const Tensor& dweight) {
  check(dy, slot, sorted);
  check(dy, slot, dsorted);
  check_tensor("expert_permute: weight", weight, accumulator(dy.dtype), {slot.size(0), slot.size(1)});
  check_tensor("expert_permute: dweight", dweight, accumulator(dy.dtype), {slot.size(0), slot.size(1)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "expert_permute", stream, dy.dtype, [&]<class T>(auto& queue) {
        run(queue, UnpermuteBackward<T>{.sorted = view<const T, 2>(sorted),
                                        .slot = view<const int64_t, 2>(slot),
                                        .weight = view<const Accumulator<T>, 2>(weight),
                                        .dy = view<const T, 2>(dy),
                                        .dsorted = view<T, 2>(dsorted),
                                        .dweight = view<Accumulator<T>, 2>(dweight)});
      });
}

}  // namespace engram
