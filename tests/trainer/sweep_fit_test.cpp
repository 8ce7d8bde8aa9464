#include "trainer/sweep_fit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/core/rng.h"
#include "trainer/sweep_published.h"

namespace engram {
namespace {

struct PublishedFit {
  std::span<const DataPoint> points;
  double a, b, c, minimum, loss, rms;
  Interval residuals, cases;
};

// Coefficients and intervals of the published points, computed apart from this code (numpy, 10,000 resamples).
TEST(SweepFit, ReproducesTheFitsOfThePublishedPoints) {
  const std::span<const DataPoint> large(kPublished6e20), small(kPublished2e20);
  const PublishedFit wanted[] = {
      {large, 0.13448, -0.19846, 1.78392, 0.738, 1.71070, 0.0024, {0.704, 0.786}, {0.71, 0.86}},
      {large.first(9), 0.08276, -0.13360, 1.76502, 0.807, 1.71111, 0.0009, {0.770, 0.877}, {0.78, 0.93}},
      {small, 0.11949, -0.17336, 1.87904, 0.725, 1.81617, 0.0020, {0.692, 0.765}, {0.70, 0.85}},
      {small.first(9), 0.07695, -0.11983, 1.86337, 0.779, 1.81672, 0.0008, {0.748, 0.831}, {0.76, 0.90}},
  };
  for (const PublishedFit& w : wanted) {
    const CurveFit got = fit_curve(arms_of(w.points));
    EXPECT_NEAR(got.fit.a, w.a, 1e-3);
    EXPECT_NEAR(got.fit.b, w.b, 1.5e-3);
    EXPECT_NEAR(got.fit.c, w.c, 1e-3);
    EXPECT_NEAR(got.fit.minimum(), w.minimum, 1e-3);
    EXPECT_NEAR(got.fit.at(got.fit.minimum()), w.loss, 2e-5);
    EXPECT_NEAR(got.fit.rms, w.rms, 1e-4);
    EXPECT_NEAR(got.minimum_by_residuals.low, w.residuals.low, 0.005);
    EXPECT_NEAR(got.minimum_by_residuals.high, w.residuals.high, 0.005);
    EXPECT_NEAR(got.minimum_by_cases.low, w.cases.low, 0.02);
    EXPECT_NEAR(got.minimum_by_cases.high, w.cases.high, 0.03);
    EXPECT_GT(got.convex_share, 0.99);
    EXPECT_FALSE(got.minimum_by_seeds);
  }
}

TEST(SweepFit, ReproducesThePublishedLineOverTheLogarithm) {
  const LogLinearFit fit = fit_log_linear(arms_of(kPublishedMemory));
  EXPECT_NEAR(fit.line.intercept, 1.94178, 2e-4);
  EXPECT_NEAR(fit.line.slope, -0.02840, 5e-5);
  EXPECT_NEAR(fit.line.rms, 0.0011, 1e-4);
  const LogLinearFit other = fit_log_linear(arms_of(kPublishedOverEncoding));
  EXPECT_NEAR(other.line.intercept, 1.96650, 2e-4);
  EXPECT_NEAR(other.line.slope, -0.03019, 5e-5);
  EXPECT_NEAR(other.line.rms, 0.0019, 1e-4);
}

TEST(SweepFit, FindsAnExactParabolaAndLine) {
  std::vector<DataPoint> points;
  for (const double x : {0.0, 0.2, 0.5, 0.9, 1.0}) points.push_back({x, 3 * x * x - 4 * x + 7});
  const Quadratic fit = fit_quadratic(points);
  EXPECT_NEAR(fit.a, 3, 1e-12);
  EXPECT_NEAR(fit.b, -4, 1e-12);
  EXPECT_NEAR(fit.c, 7, 1e-12);
  EXPECT_NEAR(fit.minimum(), 2.0 / 3, 1e-12);
  EXPECT_NEAR(fit.rms, 0, 1e-12);
  EXPECT_THROW(fit_quadratic(std::span(points).first(2)), std::exception);
  const Quadratic hill{.a = -1, .b = 0.5, .c = 0, .rms = 0};
  EXPECT_EQ(hill.minimum(), 1);
}

// A U of that depth with that much noise of the seeds; the same noise for all points of a seed when `shared`.
std::vector<CurveArm> noisy_curve(double depth, double noise, int num_seeds) {
  std::vector<CurveArm> arms;
  for (int i = 0; i <= 8; ++i) {
    CurveArm& arm = arms.emplace_back();
    arm.x = i / 8.0;
    for (int seed = 0; seed < num_seeds; ++seed) {
      arm.seeds.push_back(seed);
      const double shift = 0.5 * seed;  // a seed's own, cancelled by pairing
      const double random = normal(9, RandomDomain::kSampling, static_cast<uint32_t>(i), static_cast<uint64_t>(seed));
      arm.losses.push_back(3 + 4 * depth * (arm.x - 0.5) * (arm.x - 0.5) + noise * random + shift);
    }
  }
  return arms;
}

TEST(SweepFit, ConfirmsAUThatIsThereAndNoneThatIsNot) {
  std::vector<CurveArm> deep = noisy_curve(0.1, 0.002, 5);
  for (CurveArm& arm : deep) {  // without the seeds' shifts, which only pairing takes out
    for (size_t i = 0; i < arm.losses.size(); ++i) arm.losses[i] -= 0.5 * static_cast<double>(i);
  }
  const CurveAnalysis confirmed = analyse_curve(deep);
  EXPECT_TRUE(confirmed.shape.is_u());
  EXPECT_NEAR(confirmed.shape.right.mean, 0.1, 0.01);
  ASSERT_TRUE(confirmed.all.minimum_by_seeds);
  EXPECT_LT(confirmed.all.minimum_by_seeds->low, 0.5);
  EXPECT_GT(confirmed.all.minimum_by_seeds->high, 0.49);
  EXPECT_LT(confirmed.all.minimum_by_seeds->high - confirmed.all.minimum_by_seeds->low, 0.05);
  const CurveAnalysis none = analyse_curve(noisy_curve(0, 0.02, 5));
  EXPECT_TRUE(none.shape.can_tell);
  EXPECT_FALSE(none.shape.is_u());
}

TEST(SweepFit, AFallingCurveIsNoU) {
  std::vector<CurveArm> arms = noisy_curve(0, 0, 3);
  for (CurveArm& arm : arms) {
    for (double& loss : arm.losses) loss += 0.2 * std::pow(1 - arm.x, 2);
  }
  const ShapeTest shape = analyse_curve(arms).shape;
  EXPECT_TRUE(shape.left_holds);
  EXPECT_FALSE(shape.right_holds);
  EXPECT_FALSE(shape.is_u());
}

TEST(SweepFit, OneSeedCannotTell) {
  const CurveAnalysis analysis = analyse_curve(noisy_curve(0.1, 0.001, 1));
  EXPECT_FALSE(analysis.shape.can_tell);
  EXPECT_FALSE(analysis.shape.is_u());
  EXPECT_NEAR(analysis.shape.right.mean, 0.1, 0.01);
}

TEST(SweepFit, ASeedThatOnlySomePointsHaveDoesNotTiltTheLine) {
  std::vector<CurveArm> arms;
  for (const double x : {10.0, 100.0, 1000.0}) {
    arms.push_back({.x = x, .seeds = {0, 1}, .losses = {4 - std::log10(x), 4.2 - std::log10(x)}});
  }
  arms.back().seeds.push_back(2);
  arms.back().losses.push_back(0);
  EXPECT_NEAR(fit_log_linear(arms).line.slope, -1, 1e-12);
  EXPECT_NEAR(fit_log_linear(arms).line.intercept, 4.1, 1e-12);
  for (CurveArm& arm : arms) arm.x = std::log10(arm.x) / 3;
  EXPECT_NEAR(fit_curve(arms).fit.a, 0, 1e-12);
  arms.front().seeds = {5, 6};  // none is shared: every seed counts
  EXPECT_EQ(with_shared_seeds(arms).back().losses.size(), 3u);
}

TEST(SweepFit, DifferencesArePairedBySeed) {
  const CurveArm one{.x = 0, .seeds = {0, 1, 2, 7}, .losses = {1, 2, 3, 100}};
  const CurveArm other{.x = 1, .seeds = {2, 1, 0}, .losses = {2.9, 1.9, 0.9}};
  const Difference difference = paired_difference(one, other);
  EXPECT_EQ(difference.pairs.size(), 3u);
  EXPECT_NEAR(difference.mean, 0.1, 1e-12);
  ASSERT_TRUE(difference.interval);
  EXPECT_NEAR(difference.interval->low, 0.1, 1e-9);  // the seeds' own scatter is gone
}

TEST(SweepFit, TheIntervalOfAMeanLiesWithinItsValues) {
  const CurveArm arm{.x = 0, .seeds = {0, 1, 2}, .losses = {1, 2, 6}};
  ASSERT_TRUE(arm.interval());
  EXPECT_GE(arm.interval()->low, 1);
  EXPECT_LT(arm.interval()->low, arm.mean());
  EXPECT_GT(arm.interval()->high, arm.mean());
  EXPECT_LE(arm.interval()->high, 6);
  EXPECT_FALSE((CurveArm{.x = 0, .seeds = {0}, .losses = {1}}.interval()));
  EXPECT_EQ(arm.at(2), 6);
  EXPECT_FALSE(arm.at(3));
}

TEST(SweepFit, EqualInputsGiveEqualIntervals) {
  const auto arms = noisy_curve(0.05, 0.01, 3);
  EXPECT_EQ(analyse_curve(arms).all.minimum_by_seeds->low, analyse_curve(arms).all.minimum_by_seeds->low);
  EXPECT_NE(analyse_curve(arms).all.minimum_by_seeds->low, analyse_curve(arms).all.minimum_by_seeds->high);
}

}  // namespace
}  // namespace engram
