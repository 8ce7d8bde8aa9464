#include "tests/kernels/row_update_testing.h"

namespace engram {
namespace {

using test::RowTable;

struct RowUpdatePrecisionTest : test::CpuFixture {};

TEST_F(RowUpdatePrecisionTest, EveryElementIsWithinFourUlpsOfTheDoubleForm) {
  const Tensor control = test::control_tensor(arena, test::kRowControl);
  for (const test::RowRule rule : test::kRowRules) {
    for (int64_t width = 1; width <= 128; ++width) {
      SCOPED_TRACE("rule " + std::to_string(static_cast<int>(rule)) + ", width " + std::to_string(width));
      Arena::Scope scope(arena);
      const RowTable got = test::one_sided_row_table(arena, 40, width), want = test::in_double(arena, got);
      test::update(stream, rule, control, got);
      test::update(stream, rule, control, want);
      test::expect_within_four_ulps(got.weight, want.weight);
      test::expect_within_four_ulps(got.state.m, want.state.m);
      test::expect_within_four_ulps(got.state.v, want.state.v);
      test::expect_within_four_ulps(got.row_v, want.row_v);
    }
  }
}

}  // namespace
}  // namespace engram
