#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/core/check.h"

namespace engram {
namespace {

double ratio(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

double cosine(const ScheduleConfig& schedule, int64_t t, int64_t total_steps) {
  const int64_t start = schedule.warmup_steps + schedule.flat_steps;
  const int64_t end = total_steps - schedule.tail_steps;
  if (t <= start) return 1.0;
  if (t >= end) return schedule.min_ratio;
  const double progress = ratio(t - start, end - start);
  return schedule.min_ratio + (1.0 - schedule.min_ratio) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double warmup_stable_decay(const ScheduleConfig& schedule, int64_t t, int64_t total_steps) {
  const int64_t start = total_steps - schedule.decay_steps;
  if (t <= start) return 1.0;
  const double progress = ratio(t - start, schedule.decay_steps);
  const double fall = schedule.decay_shape == DecayShape::kLinear ? progress : std::sqrt(progress);
  return schedule.min_ratio + (1.0 - schedule.min_ratio) * (1.0 - fall);
}

double step(int64_t t, int64_t total_steps) {
  if (10 * t <= 8 * total_steps) return 1.0;
  return 10 * t <= 9 * total_steps ? 0.316 : 0.1;
}

}  // namespace

double learning_rate_ratio(const ScheduleConfig& schedule, int64_t t, int64_t total_steps) {
  ENGRAM_CHECK(t >= 1, "learning_rate_ratio: update ", t, "; updates count from 1");
  t = std::min(t, std::max<int64_t>(total_steps, 1));
  if (t <= schedule.warmup_steps) return ratio(t, schedule.warmup_steps);
  switch (schedule.kind) {
    case ScheduleKind::kCosine:
      return cosine(schedule, t, total_steps);
    case ScheduleKind::kWsd:
      return warmup_stable_decay(schedule, t, total_steps);
    case ScheduleKind::kStep:
      return step(t, total_steps);
    case ScheduleKind::kConstant:
      return 1.0;
  }
  ENGRAM_FAIL("learning_rate_ratio: unknown kind ", static_cast<int>(schedule.kind));
}

}  // namespace engram
