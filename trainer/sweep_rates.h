#pragma once

#include <string>
#include <vector>

namespace engram {

// Tokens per second that trials of one ratio reached on average.
struct MeasuredRate {
  double ratio = 0;
  double tokens_per_second = 0;
};

// From the results.csv that `sweep report` writes: points of the curve that are done, ascending by ratio. Throws
// ConfigError where the file is not one, or has no trial at ratio 1.
std::vector<MeasuredRate> read_rates(const std::string& path);

// Between the nearest ratios, by line; that of the nearest outside of them.
double rate_at(const std::vector<MeasuredRate>& rates, double ratio);

}  // namespace engram
