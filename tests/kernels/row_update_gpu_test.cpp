#include "tests/kernels/row_update_testing.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;
using test::RowRule;
using test::RowTable;

struct RowUpdateGpuTest : test::GpuFixture {
  void compare(RowRule rule, DType dtype, int64_t num_slots, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const RowTable drawn = test::random_row_table<double>(host, num_slots, width);
    const RowTable want{.weight = rounded(drawn.weight, dtype),
                        .grad = rounded(drawn.grad, wide),
                        .slots = drawn.slots,
                        .count = drawn.count,
                        .state = {.m = rounded(drawn.state.m, wide), .v = rounded(drawn.state.v, wide)},
                        .row_v = rounded(drawn.row_v, wide)};
    const RowTable got{.weight = upload(want.weight, dtype),
                       .grad = upload(want.grad, wide),
                       .slots = to_device(want.slots),
                       .count = to_device(want.count),
                       .state = {.m = upload(want.state.m, wide), .v = upload(want.state.v, wide)},
                       .row_v = upload(want.row_v, wide)};
    const Tensor before = to_host(got.weight);
    const Tensor control = test::control_tensor(host, test::kRowControl);
    const Tensor refused = test::control_tensor(host, {.apply = false});
    test::update(stream, rule, to_device(refused), got);
    EXPECT_TRUE(test::same_bits(to_host(got.weight), before));
    test::update(cpu, rule, control, want);
    test::update(stream, rule, to_device(control), got);
    EXPECT_LT(relative_error(download(got.weight), want.weight), bound(dtype));
    EXPECT_LT(relative_error(download(got.state.m), want.state.m), bound(wide));
    EXPECT_LT(relative_error(download(got.state.v), want.state.v), bound(wide));
    EXPECT_LT(relative_error(download(got.row_v), want.row_v), bound(wide));
    EXPECT_TRUE(test::same_bits(to_host(got.count), want.count));
    if (rule == RowRule::kAdamDense) return;
    for (int64_t slot = 0; slot < num_slots; ++slot) {
      const bool same = test::same_bits(to_host(got.weight.rows(slot, 1)), before.rows(slot, 1));
      if (slot % 3 != 0) {
        EXPECT_TRUE(same) << "an untouched row changed: " << slot;
      }
    }
  }
};

TEST_F(RowUpdateGpuTest, MatchesTheDoubleForm) {
  for (const RowRule rule : test::kRowRules) {
    for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
      for (const int64_t num_slots : {0, 1, 8, 130}) {
        for (const int64_t width : {1, 33, 80}) compare(rule, dtype, num_slots, width);
      }
      for (const int64_t width : {32, 64, 128, 1100}) compare(rule, dtype, 55, width);
    }
  }
}

TEST_F(RowUpdateGpuTest, EveryElementIsWithinFourUlpsOfTheDoubleForm) {
  const Tensor control = test::control_tensor(host, test::kRowControl);
  for (const RowRule rule : test::kRowRules) {
    for (int64_t width = 1; width <= 128; ++width) {
      SCOPED_TRACE("rule " + std::to_string(static_cast<int>(rule)) + ", width " + std::to_string(width));
      Arena::Scope host_scope(host), device_scope(*device);
      const RowTable drawn = test::one_sided_row_table(host, 40, width), want = test::in_double(host, drawn);
      const RowTable got{.weight = to_device(drawn.weight),
                         .grad = to_device(drawn.grad),
                         .slots = to_device(drawn.slots),
                         .count = to_device(drawn.count),
                         .state = {.m = to_device(drawn.state.m), .v = to_device(drawn.state.v)},
                         .row_v = to_device(drawn.row_v)};
      test::update(stream, rule, to_device(control), got);
      test::update(cpu, rule, control, want);
      test::expect_within_four_ulps(to_host(got.weight), want.weight);
      test::expect_within_four_ulps(to_host(got.state.m), want.state.m);
      test::expect_within_four_ulps(to_host(got.state.v), want.state.v);
      test::expect_within_four_ulps(to_host(got.row_v), want.row_v);
    }
  }
}

TEST_F(RowUpdateGpuTest, WithoutTouchedRowsOnlyTheDenseRuleMovesTheTable) {
  const Tensor weight = test::constant_tensor(host, 1.0, {5, 3}), ones = test::constant_tensor(host, 1.0, {5, 3});
  const Tensor slots = device->take("slots", DType::kInt64, {0}), grad = device->take("grad", DType::kFloat32, {0, 3});
  for (const RowRule rule : test::kRowRules) {
    const RowTable t{.weight = upload(weight, DType::kFloat32),
                     .grad = grad,
                     .slots = slots,
                     .count = to_device(test::constant_tensor<int32_t>(host, 1, {5})),
                     .state = {.m = upload(ones, DType::kFloat32), .v = upload(ones, DType::kFloat32)},
                     .row_v = upload(test::constant_tensor(host, 1.0, {5}), DType::kFloat32)};
    test::update(stream, rule, to_device(test::control_tensor(host, test::kRowControl)), t);
    EXPECT_EQ(test::same_bits(download(t.weight), weight), rule != RowRule::kAdamDense);
  }
}

}  // namespace
}  // namespace engram
