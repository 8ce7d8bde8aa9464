#include "trainer/resampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/core/rng.h"

namespace engram {
namespace {

// Roots of |p - share| = z sqrt(p (1 - p) / n), found by bisection: what Wilson's formula solves.
Interval wilson_by_bisection(int64_t successes, int64_t count) {
  const auto n = static_cast<double>(count);
  const double share = static_cast<double>(successes) / n;
  const auto excess = [&](double p) { return std::abs(p - share) - 1.959963984540054 * std::sqrt(p * (1 - p) / n); };
  const auto root = [&](double inside, double outside) {
    for (int i = 0; i < 100; ++i) {
      const double middle = (inside + outside) / 2;
      (excess(middle) > 0 ? outside : inside) = middle;
    }
    return inside;
  };
  return {root(share, 0), root(share, 1)};
}

TEST(Wilson, SolvesItsEquation) {
  for (const auto& [successes, count] : std::vector<std::pair<int64_t, int64_t>>{{1, 2}, {3, 10}, {600, 2376}}) {
    const Interval got = wilson_interval(successes, count), want = wilson_by_bisection(successes, count);
    EXPECT_NEAR(got.low, want.low, 1e-12) << successes << " of " << count;
    EXPECT_NEAR(got.high, want.high, 1e-12) << successes << " of " << count;
  }
}

TEST(Wilson, StaysInsideAtTheEnds) {
  EXPECT_EQ(wilson_interval(0, 2000).low, 0);
  EXPECT_NEAR(wilson_interval(0, 10).high, 0.2775, 5e-5);  // z² / (n + z²)
  EXPECT_NEAR(wilson_interval(10, 10).low, 0.7225, 5e-5);
  EXPECT_EQ(wilson_interval(10, 10).high, 1);
}

TEST(Bootstrap, OfAMeanIsTheNormalInterval) {
  std::vector<double> values;
  for (uint64_t i = 0; i < 1000; ++i) values.push_back(double{uniform(philox(1, i, 0).word[0])});
  const std::vector<double> ones(values.size(), 1.0);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / 1000, half = 1.96 / std::sqrt(12.0 * 1000);
  const Interval got = bootstrap_ratio(values, ones);
  EXPECT_NEAR(got.low, mean - half, 0.1 * half);
  EXPECT_NEAR(got.high, mean + half, 0.1 * half);
  const Interval again = bootstrap_ratio(values, ones);
  EXPECT_EQ(again.low, got.low);
  EXPECT_EQ(again.high, got.high);
}

TEST(Bootstrap, DrawsNumeratorsWithTheirDenominators) {
  const std::vector<double> numerators{2, 20, 6, 0.2}, denominators{1, 10, 3, 0.1};
  const Interval got = bootstrap_ratio(numerators, denominators);
  EXPECT_NEAR(got.low, 2, 1e-12);
  EXPECT_NEAR(got.high, 2, 1e-12);
}

TEST(Percentiles, AreInterpolated) {
  std::vector<double> values(41);
  std::iota(values.rbegin(), values.rend(), 0.0);
  EXPECT_DOUBLE_EQ(percentile_interval(values).low, 1);
  EXPECT_DOUBLE_EQ(percentile_interval(values).high, 39);
  EXPECT_TRUE(std::isnan(percentile_interval({}).low));
}

}  // namespace
}  // namespace engram
