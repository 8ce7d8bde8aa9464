#include "trainer/sweep_fit.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr int64_t kNumResamples = 4000;

size_t count_different(std::span<const DataPoint> points) {
  std::set<double> different;
  for (const DataPoint& point : points) different.insert(point.x);
  return different.size();
}

double root_mean_square(std::span<const DataPoint> points, const std::function<double(double)>& curve) {
  double sum = 0;
  for (const DataPoint& point : points) sum += std::pow(point.y - curve(point.x), 2);
  return std::sqrt(sum / static_cast<double>(points.size()));
}

std::vector<DataPoint> means_of(std::span<const CurveArm> arms) {
  std::vector<DataPoint> points;
  for (const CurveArm& arm : arms) points.push_back({arm.x, arm.mean()});
  return points;
}

// Mean over as many of the arm's seeds, drawn with replacement.
double resampled_mean(const CurveArm& arm, Draws& draws) {
  double sum = 0;
  for (size_t i = 0; i < arm.losses.size(); ++i) sum += arm.losses[draws.below(arm.losses.size())];
  return sum / static_cast<double>(arm.losses.size());
}

std::vector<DataPoint> resample_seeds(std::span<const CurveArm> arms, Draws& draws) {
  std::vector<DataPoint> points;
  for (const CurveArm& arm : arms) points.push_back({arm.x, resampled_mean(arm, draws)});
  return points;
}

bool has_seeds(std::span<const CurveArm> arms) {
  return std::any_of(arms.begin(), arms.end(), [](const CurveArm& arm) { return arm.losses.size() > 1; });
}

// What resamples say of minimum and curvature.
struct Resampled {
  std::vector<double> minima, curvatures;
  int64_t num_convex = 0;

  void add(const Quadratic& fit) {
    curvatures.push_back(fit.a);
    if (fit.a <= 0) return;
    minima.push_back(fit.minimum());
    ++num_convex;
  }
};

// `draw` makes the points of a resample; those with too few different x are left out.
Resampled resampled(const std::function<std::vector<DataPoint>(Draws&)>& draw) {
  Resampled all;
  for (int64_t i = 0; i < kNumResamples; ++i) {
    Draws draws(i);
    const std::vector<DataPoint> points = draw(draws);
    if (count_different(points) >= 3) all.add(fit_quadratic(points));
  }
  return all;
}

}  // namespace

double Quadratic::minimum() const {
  if (a <= 0) return at(0) <= at(1) ? 0 : 1;
  return std::clamp(-b / (2 * a), 0.0, 1.0);
}

Quadratic fit_quadratic(std::span<const DataPoint> points) {
  ENGRAM_CHECK(count_different(points) >= 3, "quadratic fit: ", count_different(points),
               " different points; wanted at least 3");
  // Orthogonal polynomials over the points: 1, x - m, (x - m)^2 - s (x - m) - v.
  const auto n = static_cast<double>(points.size());
  double m = 0, y_mean = 0;
  for (const DataPoint& p : points) m += p.x / n, y_mean += p.y / n;
  double square = 0, cube = 0, first = 0;
  for (const DataPoint& p : points) {
    const double u = p.x - m;
    square += u * u;
    cube += u * u * u;
    first += u * p.y;
  }
  const double s = cube / square, v = square / n, slope = first / square;
  double norm = 0, second = 0;
  for (const DataPoint& p : points) {
    const double u = p.x - m, q = u * u - s * u - v;
    norm += q * q;
    second += q * p.y;
  }
  const double a = second / norm, linear = slope - a * s;  // y = y_mean + linear u + a (u^2 - v)
  Quadratic fit{.a = a, .b = linear - 2 * a * m, .c = y_mean - linear * m + a * (m * m - v), .rms = 0};
  fit.rms = root_mean_square(points, [&](double x) { return fit.at(x); });
  return fit;
}

Line fit_line(std::span<const DataPoint> points) {
  ENGRAM_CHECK(count_different(points) >= 2, "line fit: ", count_different(points), " different points; wanted 2");
  const auto n = static_cast<double>(points.size());
  double m = 0, y_mean = 0, square = 0, product = 0;
  for (const DataPoint& p : points) m += p.x / n, y_mean += p.y / n;
  for (const DataPoint& p : points) square += (p.x - m) * (p.x - m), product += (p.x - m) * p.y;
  Line line{.intercept = 0, .slope = product / square, .rms = 0};
  line.intercept = y_mean - line.slope * m;
  line.rms = root_mean_square(points, [&](double x) { return line.intercept + line.slope * x; });
  return line;
}

double CurveArm::mean() const {
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum / static_cast<double>(losses.size());
}

double CurveArm::deviation() const {
  if (losses.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (const double loss : losses) sum += std::pow(loss - mean(), 2);
  return std::sqrt(sum / static_cast<double>(losses.size() - 1));
}

std::optional<Interval> CurveArm::interval() const {
  if (losses.size() < 2) return std::nullopt;
  std::vector<double> means;
  for (int64_t i = 0; i < kNumResamples; ++i) {
    Draws draws(i);
    means.push_back(resampled_mean(*this, draws));
  }
  return percentile_interval(std::move(means));
}

std::optional<double> CurveArm::at(int64_t seed) const {
  const auto found = std::find(seeds.begin(), seeds.end(), seed);
  if (found == seeds.end()) return std::nullopt;
  return losses[static_cast<size_t>(found - seeds.begin())];
}

std::vector<CurveArm> arms_of(std::span<const DataPoint> points) {
  std::vector<CurveArm> arms;
  for (const DataPoint& point : points) arms.push_back({.x = point.x, .seeds = {0}, .losses = {point.y}});
  return arms;
}

Difference paired_difference(const CurveArm& arm, const CurveArm& other) {
  CurveArm pairs{.x = arm.x, .seeds = {}, .losses = {}};
  for (size_t i = 0; i < arm.seeds.size(); ++i) {
    if (const auto value = other.at(arm.seeds[i])) pairs.losses.push_back(arm.losses[i] - *value);
  }
  if (pairs.losses.empty()) return {.mean = arm.mean() - other.mean(), .interval = {}, .pairs = {}};
  return {.mean = pairs.mean(), .interval = pairs.interval(), .pairs = pairs.losses};
}

std::vector<CurveArm> with_shared_seeds(std::span<const CurveArm> arms) {
  std::vector<CurveArm> shared;
  for (const CurveArm& arm : arms) {
    CurveArm& kept = shared.emplace_back(CurveArm{.x = arm.x, .seeds = {}, .losses = {}});
    for (size_t i = 0; i < arm.seeds.size(); ++i) {
      const auto has_seed = [&](const CurveArm& other) { return other.at(arm.seeds[i]).has_value(); };
      if (!std::all_of(arms.begin(), arms.end(), has_seed)) continue;
      kept.seeds.push_back(arm.seeds[i]);
      kept.losses.push_back(arm.losses[i]);
    }
  }
  if (!shared.empty() && shared.front().seeds.empty()) return {arms.begin(), arms.end()};
  return shared;
}

CurveFit fit_curve(std::span<const CurveArm> all_seeds) {
  const std::vector<CurveArm> arms = with_shared_seeds(all_seeds);
  const std::vector<DataPoint> means = means_of(arms);
  CurveFit result;
  result.fit = fit_quadratic(means);
  const Quadratic& fit = result.fit;
  constexpr double kFreedomsTaken = 3;  // by the fit: its residuals are smaller than the scatter by this
  const auto count = static_cast<double>(means.size());
  const double widening = count > kFreedomsTaken ? std::sqrt(count / (count - kFreedomsTaken)) : 1;
  const Resampled residuals = resampled([&](Draws& draws) {
    std::vector<DataPoint> points = means;
    for (DataPoint& point : points) {
      const DataPoint& other = means[draws.below(means.size())];
      point.y = fit.at(point.x) + widening * (other.y - fit.at(other.x));
    }
    return points;
  });
  const Resampled cases = resampled([&](Draws& draws) {
    std::vector<DataPoint> points;
    for (size_t i = 0; i < means.size(); ++i) points.push_back(means[draws.below(means.size())]);
    return points;
  });
  result.minimum_by_residuals = percentile_interval(residuals.minima);
  result.minimum_by_cases = percentile_interval(cases.minima);
  result.curvature_by_cases = percentile_interval(cases.curvatures);
  result.convex_share = static_cast<double>(cases.num_convex) / static_cast<double>(cases.curvatures.size());
  if (!has_seeds(arms)) return result;
  const Resampled seeds = resampled([&](Draws& draws) { return resample_seeds(arms, draws); });
  result.minimum_by_seeds = percentile_interval(seeds.minima);
  result.curvature_by_seeds = percentile_interval(seeds.curvatures);
  return result;
}

CurveAnalysis analyse_curve(std::span<const CurveArm> arms) {
  CurveAnalysis analysis{.all = fit_curve(arms), .without_pure = {}, .shape = {}};
  const auto without = arms.back().x == 1 ? arms.first(arms.size() - 1) : arms;
  if (without.size() >= 3) analysis.without_pure = fit_curve(without);
  ShapeTest& shape = analysis.shape;
  shape.best = 1;
  for (size_t i = 2; i + 1 < arms.size(); ++i) {
    if (arms[i].mean() < arms[shape.best].mean()) shape.best = i;
  }
  shape.left = paired_difference(arms.front(), arms[shape.best]);
  shape.right = paired_difference(arms.back(), arms[shape.best]);
  const auto is_above_zero = [](const std::optional<Interval>& interval) { return interval && interval->low > 0; };
  shape.left_holds = is_above_zero(shape.left.interval);
  shape.right_holds = is_above_zero(shape.right.interval);
  const auto curvature = analysis.without_pure ? analysis.without_pure->curvature_by_seeds : std::nullopt;
  shape.curvature_holds = is_above_zero(curvature);
  shape.can_tell = shape.left.interval && shape.right.interval && curvature;
  return analysis;
}

LogLinearFit fit_log_linear(std::span<const CurveArm> arms) {
  std::vector<CurveArm> logs = with_shared_seeds(arms);
  for (CurveArm& arm : logs) arm.x = std::log10(arm.x);
  LogLinearFit result{.line = fit_line(means_of(logs)), .slope_by_seeds = {}};
  if (!has_seeds(logs)) return result;
  std::vector<double> slopes;
  for (int64_t i = 0; i < kNumResamples; ++i) {
    Draws draws(i);
    slopes.push_back(fit_line(resample_seeds(logs, draws)).slope);
  }
  result.slope_by_seeds = percentile_interval(std::move(slopes));
  return result;
}

}  // namespace engram
