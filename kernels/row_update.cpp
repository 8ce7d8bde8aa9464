#include "kernels/row_update.h"

#include "kernels/core/dispatch.h"
#include "kernels/row_update_impl.h"

namespace engram {
namespace {

void check(const Tensor& control, const Tensor& slots, const Tensor& grad, const Tensor& weight) {
  check_tensor("row_update: control", control, DType::kFloat64, {kNumUpdateControls});
  check_tensor("row_update: weight", weight, weight.dtype, {-1, -1});
  check_tensor("row_update: slots", slots, DType::kInt64, {-1});
  check_tensor("row_update: grad", grad, accumulator(weight.dtype), {slots.size(0), weight.size(1)});
}

void check(const Tensor& weight, const RowAdamState& state) {
  check_tensor("row_update: m", state.m, accumulator(weight.dtype), {weight.size(0), weight.size(1)});
  check_tensor("row_update: v", state.v, accumulator(weight.dtype), {weight.size(0), weight.size(1)});
}

template <class T>
RowUpdateAdam<T> arguments(const Tensor& control, const Tensor& slots, const Tensor& grad,
                           const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state) {
  return {.control = view<const double, 1>(control),
          .slots = view<const int64_t, 1>(slots),
          .grad = view<const Accumulator<T>, 2>(grad),
          .lr = options.lr,
          .beta1 = options.beta1,
          .beta2 = options.beta2,
          .eps = options.eps,
          .weight = view<T, 2>(weight),
          .m = view<Accumulator<T>, 2>(state.m),
          .v = view<Accumulator<T>, 2>(state.v)};
}

}  // namespace

void row_update_sgd(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad, double lr,
                    const Tensor& weight) {
  check(control, slots, grad, weight);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_update", stream, weight.dtype, [&]<class T>(auto& queue) {
        run(queue, RowUpdateSgd<T>{.control = view<const double, 1>(control),
                                   .slots = view<const int64_t, 1>(slots),
                                   .grad = view<const Accumulator<T>, 2>(grad),
                                   .lr = lr,
                                   .weight = view<T, 2>(weight)});
      });
}

void row_update_adam_lazy(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                          const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state,
                          const Tensor& count) {
  check(control, slots, grad, weight);
  check(weight, state);
  check_tensor("row_update: count", count, DType::kInt32, {weight.size(0)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_update", stream, weight.dtype, [&]<class T>(auto& queue) {
        run(queue, RowUpdateAdamLazy<T>{.adam = arguments<T>(control, slots, grad, options, weight, state),
                                        .count = view<int32_t, 1>(count)});
      });
}

void row_update_adam_dense(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                           const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state) {
  check(control, slots, grad, weight);
  check(weight, state);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_update", stream, weight.dtype, [&]<class T>(auto& queue) {
        run(queue, RowUpdateAdamDense<T>{.adam = arguments<T>(control, slots, grad, options, weight, state)});
      });
}

void row_update_rowwise_adam(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                             const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state,
                             const Tensor& count) {
  check(control, slots, grad, weight);
  check_tensor("row_update: m", state.m, accumulator(weight.dtype), {weight.size(0), weight.size(1)});
  check_tensor("row_update: v", state.v, accumulator(weight.dtype), {weight.size(0)});
  check_tensor("row_update: count", count, DType::kInt32, {weight.size(0)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_update", stream, weight.dtype, [&]<class T>(auto& queue) {
        run(queue, RowUpdateRowwiseAdam<T>{.control = view<const double, 1>(control),
                                           .slots = view<const int64_t, 1>(slots),
                                           .grad = view<const Accumulator<T>, 2>(grad),
                                           .lr = options.lr,
                                           .beta1 = options.beta1,
                                           .beta2 = options.beta2,
                                           .eps = options.eps,
                                           .weight = view<T, 2>(weight),
                                           .m = view<Accumulator<T>, 2>(state.m),
                                           .v = view<Accumulator<T>, 1>(state.v),
                                           .count = view<int32_t, 1>(count)});
      });
}

void row_update_rowwise_adagrad(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                                const RowAdagradOptions& options, const Tensor& weight, const Tensor& s) {
  check(control, slots, grad, weight);
  check_tensor("row_update: s", s, accumulator(weight.dtype), {weight.size(0)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "row_update", stream, weight.dtype, [&]<class T>(auto& queue) {
        run(queue, RowUpdateRowwiseAdagrad<T>{.control = view<const double, 1>(control),
                                              .slots = view<const int64_t, 1>(slots),
                                              .grad = view<const Accumulator<T>, 2>(grad),
                                              .lr = options.lr,
                                              .eps = options.eps,
                                              .weight = view<T, 2>(weight),
                                              .s = view<Accumulator<T>, 1>(s)});
      });
}

}  // namespace engram
