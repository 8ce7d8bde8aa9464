#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/core/check.h"

namespace engram {
namespace {

struct Point {
  int64_t t;
  double want;
};

void expect_points(const ScheduleConfig& schedule, int64_t total_steps, std::initializer_list<Point> points) {
  for (const Point& point : points) {
    EXPECT_NEAR(learning_rate_ratio(schedule, point.t, total_steps), point.want, 1e-15) << "t = " << point.t;
  }
}

TEST(Schedule, WarmupStartsAtOneStep) {
  for (int64_t kind = 0; kind < 4; ++kind) {
    ScheduleConfig schedule{.kind = static_cast<ScheduleKind>(kind), .warmup_steps = 4};
    schedule.decay_steps = 2;
    expect_points(schedule, 100, {{1, 0.25}, {2, 0.5}, {3, 0.75}, {4, 1.0}});
  }
  EXPECT_EQ(learning_rate_ratio({.kind = ScheduleKind::kConstant, .warmup_steps = 0}, 1, 10), 1.0);
  EXPECT_EQ(learning_rate_ratio({.kind = ScheduleKind::kConstant, .warmup_steps = 1}, 1, 10), 1.0);
}

TEST(Schedule, Cosine) {
  const ScheduleConfig schedule{.kind = ScheduleKind::kCosine, .warmup_steps = 10, .min_ratio = 0.1};
  const double quarter = 0.1 + 0.45 * (1 + std::cos(std::numbers::pi / 4));
  expect_points(schedule, 110, {{10, 1.0}, {35, quarter}, {60, 0.55}, {110, 0.1}, {111, 0.1}, {9999, 0.1}});
  EXPECT_LT(learning_rate_ratio(schedule, 11, 110), 1.0);
  EXPECT_GT(learning_rate_ratio(schedule, 109, 110), 0.1);
}

TEST(Schedule, CosineWithFlatParts) {
  // The proportions of the V4.1 recipe: 2.6e-4 to 28 of 45 units, down to 2.6e-5 at 40, flat to the end.
  const ScheduleConfig schedule{
      .kind = ScheduleKind::kCosine, .warmup_steps = 2, .min_ratio = 0.1, .flat_steps = 26, .tail_steps = 5};
  expect_points(schedule, 45, {{1, 0.5}, {2, 1.0}, {28, 1.0}, {34, 0.55}, {40, 0.1}, {41, 0.1}, {45, 0.1}});
  EXPECT_LT(learning_rate_ratio(schedule, 29, 45), 1.0);
  EXPECT_GT(learning_rate_ratio(schedule, 39, 45), 0.1);
}

TEST(Schedule, WarmupStableDecay) {
  ScheduleConfig schedule{.kind = ScheduleKind::kWsd, .warmup_steps = 5, .min_ratio = 0.2, .decay_steps = 20};
  expect_points(schedule, 100, {{5, 1.0}, {50, 1.0}, {80, 1.0}, {85, 0.8}, {90, 0.6}, {100, 0.2}, {200, 0.2}});
  schedule.decay_shape = DecayShape::kSqrt;
  expect_points(schedule, 100, {{80, 1.0}, {85, 0.6}, {100, 0.2}});
}

TEST(Schedule, StepBoundariesAreIntegers) {
  const ScheduleConfig schedule{.kind = ScheduleKind::kStep, .warmup_steps = 3};
  expect_points(schedule, 50000, {{3, 1.0}, {40000, 1.0}, {40001, 0.316}, {45000, 0.316}, {45001, 0.1}, {50000, 0.1}});
  expect_points(schedule, 7, {{5, 1.0}, {6, 0.316}, {7, 0.1}});  // 5.6 and 6.3
}

TEST(Schedule, UpdatesCountFromOne) { EXPECT_THROW(learning_rate_ratio({}, 0, 10), Error); }

}  // namespace
}  // namespace engram
