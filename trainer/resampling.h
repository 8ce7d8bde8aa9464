#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// Intervals by resampling. Everything is seeded: equal inputs give equal intervals.
namespace engram {

// Of 95 %.
struct Interval {
  double low = 0, high = 0;
};

// Random indices for one resample; a pure function of the resample's number and the draw's.
class Draws {
 public:
  explicit Draws(int64_t resample) : resample_(static_cast<uint64_t>(resample)) {}
  // Below `count`, which is below 2^32.
  size_t below(size_t count);

 private:
  uint64_t resample_, next_ = 0;
};

// Between the 2.5th and the 97.5th percentile; NaN for no values.
Interval percentile_interval(std::vector<double> values);

// Of sum(numerators) / sum(denominators), over resamples of the pairs.
Interval bootstrap_ratio(std::span<const double> numerators, std::span<const double> denominators);

// Of a share: `successes` of `count`, which is above 0 (Wilson 1927).
Interval wilson_interval(int64_t successes, int64_t count);

}  // namespace engram
