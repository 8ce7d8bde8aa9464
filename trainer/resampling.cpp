#include "trainer/resampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/rng.h"

namespace engram {

size_t Draws::below(size_t count) {
  constexpr uint64_t kKey = 0x5eed;
  const uint64_t word = philox(kKey, resample_, next_++).word[0];
  return static_cast<size_t>(word * count >> 32);
}

Interval percentile_interval(std::vector<double> values) {
  if (values.empty()) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const double position = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<size_t>(position);
    const size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
  };
  return {at(0.025), at(0.975)};
}

Interval bootstrap_ratio(std::span<const double> numerators, std::span<const double> denominators) {
  constexpr int64_t kNumResamples = 2000;
  std::vector<double> ratios;
  for (int64_t resample = 0; resample < kNumResamples; ++resample) {
    Draws draws(resample);
    double numerator = 0, denominator = 0;
    for (size_t i = 0; i < numerators.size(); ++i) {
      const size_t drawn = draws.below(numerators.size());
      numerator += numerators[drawn];
      denominator += denominators[drawn];
    }
    ratios.push_back(numerator / denominator);
  }
  return percentile_interval(std::move(ratios));
}

Interval wilson_interval(int64_t successes, int64_t count) {
  constexpr double z = 1.959963984540054;  // of the normal distribution, 97.5 %
  const auto n = static_cast<double>(count);
  const double p = static_cast<double>(successes) / n, shrink = 1 + z * z / n;
  const double middle = (p + z * z / (2 * n)) / shrink;
  const double half = z / shrink * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {successes == 0 ? 0.0 : middle - half, successes == count ? 1.0 : middle + half};  // rounding aside, the same
}

}  // namespace engram
