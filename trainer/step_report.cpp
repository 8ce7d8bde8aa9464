#include "trainer/step_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace engram {
namespace {

// Adds how evenly the tokens went to the experts: [num_mixtures, num_experts], over all ranks.
void add_loads(std::span<const int64_t> loads, int64_t num_experts, StepReport& report) {
  if (loads.empty()) return;
  for (auto begin = loads.begin(); begin != loads.end(); begin += num_experts) {
    const auto total = static_cast<double>(std::accumulate(begin, begin + num_experts, int64_t{0}));
    const auto largest = static_cast<double>(*std::max_element(begin, begin + num_experts));
    report.experts_max_over_mean =
        std::max(report.experts_max_over_mean, largest * static_cast<double>(num_experts) / total);
  }
  report.experts_dead =
      static_cast<double>(std::count(loads.begin(), loads.end(), 0)) / static_cast<double>(loads.size());
}

// Gates of a global batch: one per token, Engram layer and stream.
double num_gates(const RunConfig& config) {
  return static_cast<double>(config.train.global_batch * config.data.seq_len * config.model.connections.streams) *
         static_cast<double>(config.model.engram.layers.size());
}

// Standard deviation over mean of what each of the ranks has.
double relative_deviation(double sum, double squared_sum, int num_ranks) {
  return sum == 0 ? 0 : std::sqrt(std::max(0.0, squared_sum * num_ranks / (sum * sum) - 1));
}

void add_values(const RunConfig& config, int num_ranks, const StepState::Values& values, StepReport& report) {
  const auto sum = [&](StepSum which) { return values.sum(which); };
  report.loss = sum(StepSum::kLoss) / static_cast<double>(config.train.global_batch * config.data.seq_len);
  report.norm = std::sqrt(sum(StepSum::kDenseSquares) + sum(StepSum::kTableSquares));
  report.skipped = !values.applied;
  report.is_spike = values.is_spike;
  report.request = strongest_in(sum(StepSum::kRequests));
  report.save_work = sum(StepSum::kSaveWork);
  if (values.applied) report.lr = config.optimizer.dense.lr * values.lr_ratio;
  if (const double requested = sum(StepSum::kRequestedRows); requested > 0)
    report.unique_rows = sum(StepSum::kUniqueRows) / requested;
  report.exchanged_bytes = sum(StepSum::kExchangedBytes);
  report.imbalance = relative_deviation(sum(StepSum::kServedRows), sum(StepSum::kServedRowsSquared), num_ranks);
  if (config.model.engram.enabled()) report.mean_gate = sum(StepSum::kGates) / num_gates(config);
  add_loads(values.loads, config.model.moe.num_experts, report);
}

}  // namespace

StepReport PendingReport::wait() {
  add_values(*config_, num_ranks_, values_.wait(), report_);
  return report_;
}

}  // namespace engram
