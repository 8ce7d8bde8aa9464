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

// The gates of a layer in a global batch are one per token and stream.
void add_gates(const RunConfig& config, std::span<const double> sums, StepReport& report) {
  if (sums.empty()) return;
  const auto num_gates =
      static_cast<double>(config.train.global_batch * config.data.seq_len * config.model.connections.streams);
  const auto [least, most] = std::ranges::minmax(sums);
  report.mean_gate = std::reduce(sums.begin(), sums.end()) / (num_gates * static_cast<double>(sums.size()));
  report.min_gate = least / num_gates;
  report.max_gate = most / num_gates;
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
  report.num_unique_rows = sum(StepSum::kUniqueRows);
  if (const double requested = sum(StepSum::kRequestedRows); requested > 0)
    report.unique_rows = report.num_unique_rows / requested;
  report.exchanged_bytes = sum(StepSum::kExchangedBytes);
  report.imbalance = relative_deviation(sum(StepSum::kServedRows), sum(StepSum::kServedRowsSquared), num_ranks);
  add_gates(config, values.gate_sums, report);
  add_loads(values.loads, config.model.moe.num_experts, report);
}

}  // namespace

StepReport PendingReport::wait() {
  add_values(*config_, num_ranks_, values_.wait(), report_);
  return report_;
}

}  // namespace engram
