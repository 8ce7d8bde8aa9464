#pragma once

#include "kernels/row_update.h"
#include "tests/kernels/update_control_testing.h"
#include "tests/ulps.h"

// What tests share that compare a form of the row updates with the double form.
namespace engram::test {

enum class RowRule { kSgd, kAdamLazy, kAdamDense, kRowwiseAdam, kRowwiseAdagrad };
inline constexpr RowRule kRowRules[] = {RowRule::kSgd, RowRule::kAdamLazy, RowRule::kAdamDense, RowRule::kRowwiseAdam,
                                        RowRule::kRowwiseAdagrad};

inline constexpr UpdateControl kRowControl{.grad_scale = 0.5, .num_updates = 7, .lr_ratio = 0.5};

// A table with the state of every rule, and the gradients of its touched rows.
struct RowTable {
  Tensor weight, grad, slots, count;
  RowAdamState state;
  Tensor row_v;
};

// Every third row is touched, the last one first; the count of one is at its end.
template <class T>
RowTable random_row_table(Arena& arena, int64_t num_slots, int64_t width) {
  const int64_t num_touched = (num_slots + 2) / 3;
  const RowTable table{.weight = random_tensor<T>(arena, 1, {num_slots, width}, 0.02),
                       .grad = random_tensor<T>(arena, 2, {num_touched, width}),
                       .slots = arena.take("slots", DType::kInt64, {num_touched}),
                       .count = arena.take("count", DType::kInt32, {num_slots}),
                       .state = {.m = random_tensor<T>(arena, 3, {num_slots, width}, 0.1),
                                 .v = random_tensor<T>(arena, 4, {num_slots, width}, 0.1)},
                       .row_v = random_tensor<T>(arena, 5, {num_slots}, 0.1)};
  for (const Tensor& squares : {table.state.v, table.row_v}) {
    for (T& v : host_span<T>(squares)) v = std::abs(v);
  }
  for (int64_t i = 0; i < num_touched; ++i) static_cast<int64_t*>(table.slots.data)[i] = 3 * (num_touched - 1 - i);
  for (int64_t i = 0; i < num_slots; ++i) static_cast<int32_t*>(table.count.data)[i] = i == 3 ? INT32_MAX : int(i % 5);
  return table;
}

// The same with signs by which no sum of a step cancels: every element is then as accurate as its terms.
inline RowTable one_sided_row_table(Arena& arena, int64_t num_slots, int64_t width) {
  const RowTable table = random_row_table<float>(arena, num_slots, width);
  for (float& weight : host_span<float>(table.weight)) weight = -std::abs(weight);
  for (float& grad : host_span<float>(table.grad)) grad = std::abs(grad);
  for (float& m : host_span<float>(table.state.m)) m = std::abs(m);
  return table;
}

// A copy that the double form can step on.
inline RowTable in_double(Arena& arena, const RowTable& t) {
  return {.weight = to_double(arena, t.weight),
          .grad = to_double(arena, t.grad),
          .slots = t.slots,
          .count = clone(arena, t.count),
          .state = {.m = to_double(arena, t.state.m), .v = to_double(arena, t.state.v)},
          .row_v = to_double(arena, t.row_v)};
}

// One step of the rule at a rate of 0.012, halved by kRowControl, so that steps are about as large as weights.
inline void update(Stream& stream, RowRule rule, const Tensor& control, const RowTable& t) {
  constexpr RowAdamOptions kOptions{.lr = 0.012};
  if (rule == RowRule::kSgd) row_update_sgd(stream, control, t.slots, t.grad, kOptions.lr, t.weight);
  if (rule == RowRule::kAdamLazy) {
    row_update_adam_lazy(stream, control, t.slots, t.grad, kOptions, t.weight, t.state, t.count);
  }
  if (rule == RowRule::kAdamDense) {
    row_update_adam_dense(stream, control, t.slots, t.grad, kOptions, t.weight, t.state);
  }
  if (rule == RowRule::kRowwiseAdam) {
    row_update_rowwise_adam(stream, control, t.slots, t.grad, kOptions, t.weight, {t.state.m, t.row_v}, t.count);
  }
  if (rule == RowRule::kRowwiseAdagrad) {
    row_update_rowwise_adagrad(stream, control, t.slots, t.grad, {.lr = kOptions.lr}, t.weight, t.row_v);
  }
}

inline void expect_within_four_ulps(const Tensor& got, const Tensor& want) {
  ASSERT_EQ(got.numel(), want.numel());
  double worst = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    const double distance = ulps(element(got, i), element(want, i));
    if (!(distance <= worst)) worst = distance;  // NaN stays
  }
  EXPECT_LE(worst, 4);
}

}  // namespace engram::test
