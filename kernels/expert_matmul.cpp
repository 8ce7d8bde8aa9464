#include "kernels/expert_matmul.h"

#include "kernels/core/dispatch.h"
#include "kernels/expert_matmul_impl.h"

namespace engram {
namespace {

// x holds the input side, y the output side of weight [num_experts, out, in].
void check(Stream& stream, const Tensor& x, const Tensor& weight, DType weight_dtype, const Tensor& offsets,
           const Tensor& y) {
  check_tensor("expert_matmul: weight", weight, weight_dtype, {-1, -1, -1});
  check_tensor("expert_matmul: input side", x, x.dtype, {-1, weight.size(2)});
  check_tensor("expert_matmul: output side", y, x.dtype, {x.size(0), weight.size(1)});
  check_tensor("expert_matmul: offsets", offsets, DType::kInt64, {weight.size(0) + 1});
  describe_op(stream, {x.size(0), weight.size(1), weight.size(2)},
              2.0 * static_cast<double>(x.numel()) * static_cast<double>(weight.size(1)));
}

}  // namespace

void expert_matmul_forward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& offsets,
                           const Tensor& y) {
  check(stream, x, weight, x.dtype, offsets, y);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("expert_matmul", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, ExpertMatmulForward<T>{.x = view<const T, 2>(x),
                                      .weight = view<const T, 3>(weight),
                                      .offsets = view<const int64_t, 1>(offsets),
                                      .y = view<T, 2>(y)});
  });
}

void expert_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& weight, const Tensor& offsets,
                                  const Tensor& dx) {
  check(stream, dx, weight, dx.dtype, offsets, dy);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("expert_matmul", stream, dx.dtype, [&]<class T>(auto& queue) {
    run(queue, ExpertMatmulBackwardInput<T>{.dy = view<const T, 2>(dy),
                                            .weight = view<const T, 3>(weight),
                                            .offsets = view<const int64_t, 1>(offsets),
                                            .dx = view<T, 2>(dx)});
  });
}

void expert_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& offsets,
                                   const Tensor& dweight) {
  check(stream, x, dweight, accumulator(x.dtype), offsets, dy);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("expert_matmul", stream, x.dtype, [&]<class T>(auto& queue) {
    run(queue, ExpertMatmulBackwardWeight<T>{.dy = view<const T, 2>(dy),
                                             .x = view<const T, 2>(x),
                                             .offsets = view<const int64_t, 1>(offsets),
                                             .dweight = view<Accumulator<T>, 3>(dweight)});
  });
}

}  // namespace engram
