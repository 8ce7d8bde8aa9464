#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "trainer/resampling.h"

// Statistics of a sweep's curve. Resampling is seeded: equal inputs give equal intervals.
namespace engram {

struct DataPoint {
  double x = 0;
  double y = 0;
};

// y = a x^2 + b x + c by least squares.
struct Quadratic {
  double a = 0, b = 0, c = 0;
  double rms = 0;  // root mean square of the residuals

  double at(double x) const { return (a * x + b) * x + c; }
  // Where it is least on [0, 1]; of a curve that is not convex, the lower end.
  double minimum() const;
};
// Throws Error for fewer than three different x.
Quadratic fit_quadratic(std::span<const DataPoint> points);

// y = intercept + slope x by least squares.
struct Line {
  double intercept = 0, slope = 0, rms = 0;
};
// Throws Error for fewer than two different x.
Line fit_line(std::span<const DataPoint> points);

// One point of a curve with the losses of its trials; `seeds` and `losses` go together.
struct CurveArm {
  double x = 0;
  std::vector<int64_t> seeds;
  std::vector<double> losses;

  double mean() const;
  double deviation() const;                      // of the sample; NaN for one
  std::optional<Interval> interval() const;      // of the mean, by resampled seeds; nothing for fewer than two
  std::optional<double> at(int64_t seed) const;  // nothing where that seed has no value
};

// Arms of one run each.
std::vector<CurveArm> arms_of(std::span<const DataPoint> points);

// Mean of the differences to `other` at equal seeds, with the interval of resampled seeds; of the means, without an
// interval, where no seed is in both.
struct Difference {
  double mean = 0;
  std::optional<Interval> interval;
  std::vector<double> pairs;
};
Difference paired_difference(const CurveArm& arm, const CurveArm& other);

// The arms with the seeds that all of them have, where there are any: a seed that only some have would tilt a curve.
std::vector<CurveArm> with_shared_seeds(std::span<const CurveArm> arms);

// Fit of the arms' means over their shared seeds, with intervals: `by_seeds` resamples the seeds within each arm (needs
// an arm with two), `by_residuals` the residuals, `by_cases` the arms. Resamples without a minimum (a <= 0) are left
// out of the intervals of the minimum; `convex_share` is the share of the others, by cases.
struct CurveFit {
  Quadratic fit;
  std::optional<Interval> minimum_by_seeds, curvature_by_seeds;
  Interval minimum_by_residuals, minimum_by_cases, curvature_by_cases;
  double convex_share = 0;
};
CurveFit fit_curve(std::span<const CurveArm> arms);

// The test that is fixed before the runs: the curve is U-shaped where both ends are worse than the best interior arm
// with intervals that exclude 0, and the curvature of the fit without x = 1 is positive with its interval. Where the
// arms have one seed each it cannot be answered.
struct ShapeTest {
  size_t best = 0;         // index of the interior arm with the least mean
  Difference left, right;  // ends minus best
  bool left_holds = false, right_holds = false, curvature_holds = false;
  bool can_tell = false;

  bool is_u() const { return can_tell && left_holds && right_holds && curvature_holds; }
};

struct CurveAnalysis {
  CurveFit all;                          // ratio 1 included
  std::optional<CurveFit> without_pure;  // nothing for fewer than three arms without it
  ShapeTest shape;
};
// `arms` ascending by x, at least three.
CurveAnalysis analyse_curve(std::span<const CurveArm> arms);

// Line through the arms' means over log10(x), of their shared seeds, with the slope's interval by resampled seeds.
struct LogLinearFit {
  Line line;
  std::optional<Interval> slope_by_seeds;
};
LogLinearFit fit_log_linear(std::span<const CurveArm> arms);

}  // namespace engram
