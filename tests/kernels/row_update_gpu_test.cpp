#include "kernels/row_update.h"

#include "tests/gpu_testing.h"
#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

using test::relative_error;

enum class Rule { kSgd, kAdamLazy, kAdamDense, kRowwiseAdam, kRowwiseAdagrad };
constexpr Rule kRules[] = {Rule::kSgd, Rule::kAdamLazy, Rule::kAdamDense, Rule::kRowwiseAdam, Rule::kRowwiseAdagrad};

struct RowUpdateGpuTest : test::GpuFixture {
  struct Table {
    Tensor weight, grad, slots, count;
    RowAdamState state;
    Tensor row_v;
  };
  static constexpr RowAdamOptions kOptions{.lr = 0.02};
  static constexpr UpdateControl kControl{.grad_scale = 0.5, .num_updates = 7, .lr_ratio = 0.5};

  static void update(Stream& queue, Rule rule, const Tensor& control, const Table& t) {
    if (rule == Rule::kSgd) row_update_sgd(queue, control, t.slots, t.grad, kOptions.lr, t.weight);
    if (rule == Rule::kAdamLazy) {
      row_update_adam_lazy(queue, control, t.slots, t.grad, kOptions, t.weight, t.state, t.count);
    }
    if (rule == Rule::kAdamDense) {
      row_update_adam_dense(queue, control, t.slots, t.grad, kOptions, t.weight, t.state);
    }
    if (rule == Rule::kRowwiseAdam) {
      row_update_rowwise_adam(queue, control, t.slots, t.grad, kOptions, t.weight, {t.state.m, t.row_v}, t.count);
    }
    if (rule == Rule::kRowwiseAdagrad) {
      row_update_rowwise_adagrad(queue, control, t.slots, t.grad, {.lr = kOptions.lr}, t.weight, t.row_v);
    }
  }

  // Every third slot is touched, the last one first.
  void compare(Rule rule, DType dtype, int64_t num_slots, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const int64_t touched = (num_slots + 2) / 3;
    const auto random = [&](uint64_t seed, int64_t rows, DType as, double scale) {
      return rounded(test::random_tensor<double>(host, seed, {rows, width}, scale), as);
    };
    const Table want{.weight = random(1, num_slots, dtype, 1.0),
                     .grad = random(2, touched, wide, 1.0),
                     .slots = host.take("slots", DType::kInt64, {touched}),
                     .count = host.take("count", DType::kInt32, {num_slots}),
                     .state = {.m = random(3, num_slots, wide, 0.1), .v = random(4, num_slots, wide, 0.1)},
                     .row_v = rounded(test::random_tensor<double>(host, 5, {num_slots}, 0.1), wide)};
    for (double& v : host_span<double>(want.state.v)) v = std::abs(v);
    for (double& v : host_span<double>(want.row_v)) v = std::abs(v);
    for (int64_t i = 0; i < touched; ++i) static_cast<int64_t*>(want.slots.data)[i] = 3 * (touched - 1 - i);
    for (int64_t i = 0; i < num_slots; ++i) static_cast<int32_t*>(want.count.data)[i] = i == 3 ? INT32_MAX : int(i % 5);
    const Table got{.weight = upload(want.weight, dtype),
                    .grad = upload(want.grad, wide),
                    .slots = to_device(want.slots),
                    .count = to_device(want.count),
                    .state = {.m = upload(want.state.m, wide), .v = upload(want.state.v, wide)},
                    .row_v = upload(want.row_v, wide)};
    const Tensor before = to_host(got.weight);
    const Tensor control = test::control_tensor(host, kControl), refused = test::control_tensor(host, {.apply = false});
    update(stream, rule, to_device(refused), got);
    EXPECT_TRUE(test::same_bits(to_host(got.weight), before));
    update(cpu, rule, control, want);
    update(stream, rule, to_device(control), got);
    EXPECT_LT(relative_error(download(got.weight), want.weight), bound(dtype));
    EXPECT_LT(relative_error(download(got.state.m), want.state.m), bound(wide));
    EXPECT_LT(relative_error(download(got.state.v), want.state.v), bound(wide));
    EXPECT_LT(relative_error(download(got.row_v), want.row_v), bound(wide));
    EXPECT_TRUE(test::same_bits(to_host(got.count), want.count));
    if (rule == Rule::kAdamDense) return;
    for (int64_t slot = 0; slot < num_slots; ++slot) {
      const bool same = test::same_bits(to_host(got.weight.rows(slot, 1)), before.rows(slot, 1));
      if (slot % 3 != 0) {
        EXPECT_TRUE(same) << "an untouched row changed: " << slot;
      }
    }
  }
};

TEST_F(RowUpdateGpuTest, MatchesTheDoubleForm) {
  for (const Rule rule : kRules) {
    for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
      for (const int64_t num_slots : {0, 1, 8, 130}) {
        for (const int64_t width : {1, 33, 80}) compare(rule, dtype, num_slots, width);
      }
      for (const int64_t width : {32, 64, 128, 1100}) compare(rule, dtype, 55, width);
    }
  }
}

TEST_F(RowUpdateGpuTest, WithoutTouchedRowsOnlyTheDenseRuleMovesTheTable) {
  const Tensor weight = test::constant_tensor(host, 1.0, {5, 3}), ones = test::constant_tensor(host, 1.0, {5, 3});
  const Tensor slots = device->take("slots", DType::kInt64, {0}), grad = device->take("grad", DType::kFloat32, {0, 3});
  for (const Rule rule : kRules) {
    const Table t{.weight = upload(weight, DType::kFloat32),
                  .grad = grad,
                  .slots = slots,
                  .count = to_device(test::constant_tensor<int32_t>(host, 1, {5})),
                  .state = {.m = upload(ones, DType::kFloat32), .v = upload(ones, DType::kFloat32)},
                  .row_v = upload(test::constant_tensor(host, 1.0, {5}), DType::kFloat32)};
    update(stream, rule, to_device(test::control_tensor(host, kControl)), t);
    EXPECT_EQ(test::same_bits(download(t.weight), weight), rule != Rule::kAdamDense);
  }
}

}  // namespace
}  // namespace engram
