#include "data/sample_blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr int64_t kPeriod = int64_t{1} << 16;

// Largest remainders: each share rounded down, and one more where most was cut off until the sum is the period.
std::vector<int64_t> quotas_of(std::span<const double> weights) {
  ENGRAM_CHECK(!weights.empty(), "blend: no source; wanted at least one");
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> quotas;
  std::vector<double> rests;
  for (const double weight : weights) {
    ENGRAM_CHECK(weight > 0 && std::isfinite(sum), "blend: weight ", weight, " of a sum of ", sum, "; wanted above 0");
    const double exact = weight / sum * static_cast<double>(kPeriod);
    quotas.push_back(static_cast<int64_t>(exact));
    rests.push_back(exact - std::floor(exact));
  }
  for (int64_t left = kPeriod - std::accumulate(quotas.begin(), quotas.end(), int64_t{0}); left > 0; --left) {
    const auto most = std::max_element(rests.begin(), rests.end());
    ++quotas[static_cast<size_t>(most - rests.begin())];
    *most -= 1;
  }
  for (size_t i = 0; i < quotas.size(); ++i) {
    ENGRAM_CHECK(quotas[i] > 0, "blend: weight ", weights[i], " of a sum of ", sum,
                 " is no share; wanted at least 1 / ", kPeriod, " of it");
  }
  return quotas;
}

}  // namespace

SampleBlend::SampleBlend(std::span<const double> weights) : quotas_(quotas_of(weights)) {
  std::vector<int64_t> counts(quotas_.size());
  for (int64_t n = 0; n < kPeriod; ++n) {
    size_t furthest = 0;
    int64_t most_behind = INT64_MIN;  // in samples times the period
    for (size_t i = 0; i < counts.size(); ++i) {
      const int64_t behind = quotas_[i] * (n + 1) - counts[i] * kPeriod;
      if (behind <= most_behind) continue;
      most_behind = behind;
      furthest = i;
    }
    pattern_.push_back({.source = static_cast<int64_t>(furthest), .sample = counts[furthest]++});
  }
}

SampleBlend::Place SampleBlend::place_of(int64_t sample) const {
  ENGRAM_CHECK(sample >= 0, "data: sample ", sample, "; wanted 0 or more");
  Place place = pattern_[static_cast<size_t>(sample % kPeriod)];
  place.sample += sample / kPeriod * quotas_[static_cast<size_t>(place.source)];
  return place;
}

double SampleBlend::share(int64_t source) const {
  return static_cast<double>(quotas_[static_cast<size_t>(source)]) / static_cast<double>(kPeriod);
}

}  // namespace engram
