#pragma once

#include <string>
#include <vector>

#include "trainer/sweep_plan.h"

namespace engram {

// Tokens per second that trials of one ratio reached on average.
struct MeasuredRate {
  double ratio = 0;
  double tokens_per_second = 0;
};

// From a results.csv that `sweep report` wrote: of the curve of one of its sweeps at one budget, trials that are done,
// ascending by ratio. `pure` is the model at ratio 1 and the budget: the curve is that whose trials at ratio 1 have as
// many experts, total and active parameters; where several have, that of the same budget. Throws ConfigError where the
// file is not one, or has none or several such curves.
std::vector<MeasuredRate> read_rates(const std::string& path, const TrialFacts& pure);

// Between the nearest ratios, by line; that of the nearest outside of them.
double rate_at(const std::vector<MeasuredRate>& rates, double ratio);

}  // namespace engram
