#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace engram {

// Deals the samples of a run to several sources by weight. A pure function of the sample's number: it is the same on
// any number of ranks and after any restart, and a source's own samples are used in order, each once.
//
// Shares are weights over their sum, rounded to multiples of 1 / 65536 that add up to 1. Sample n goes to the source
// that is furthest behind its share of the first n + 1 samples (the first of them where several are), so that after any
// number of samples no source is ahead of its share by a whole one. The pattern repeats after 65536 samples.
class SampleBlend {
 public:
  // Throws Error where a weight is not above 0, or so small that its share rounds to 0.
  explicit SampleBlend(std::span<const double> weights);

  struct Place {
    int64_t source = 0;
    int64_t sample = 0;  // of that source
  };
  // Throws Error for a sample below 0.
  Place place_of(int64_t sample) const;
  // Of `source` in the period.
  double share(int64_t source) const;

 private:
  std::vector<int64_t> quotas_;  // samples of each source in a period
  std::vector<Place> pattern_;   // of the first period
};

}  // namespace engram
