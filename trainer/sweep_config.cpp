#include "trainer/sweep_config.h"

#include <fmt/format.h>

#include <algorithm>

namespace engram {
namespace {

template <class Value>
bool has_twice(std::vector<Value> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) != values.end();
}

void add_ratio_problems(const SweepConfig& c, ConfigProblems& problems) {
  for (const double ratio : c.ratios) {
    if (ratio >= 0 && ratio <= 1) continue;
    problems.push_back(
        {{"ratios"}, fmt::format("{} is outside [0, 1]; the nearest feasible is {}", ratio, ratio > 1 ? 1 : 0)});
  }
  const bool wants_ratios = c.kind != SweepKind::kMemory;
  if (wants_ratios && c.ratios.empty() && c.controls.empty()) {
    problems.push_back({{"ratios", "kind"}, "is empty; wanted the points of the curve, for example [0.5, 0.8, 1]"});
  }
  if (!wants_ratios && c.table_rows.empty()) {
    problems.push_back({{"table_rows", "kind"}, "is empty; wanted base rows per head, for example [0, 1000, 10000]"});
  }
  if (has_twice(c.ratios)) problems.push_back({{"ratios"}, "names a ratio twice"});
  if (has_twice(c.table_rows)) problems.push_back({{"table_rows"}, "names a size twice"});
  if (std::find(c.table_rows.begin(), c.table_rows.end(), 1) != c.table_rows.end()) {
    problems.push_back({{"table_rows"}, "1 row per head is below the least of 2; the nearest feasible is 2"});
  }
}

void add_budget_problems(const SweepConfig& c, ConfigProblems& problems) {
  const int ways = int{!c.flops.empty()} + int{!c.tokens_per_active.empty()} + int{!c.tokens.empty()};
  if (ways != 1) {
    problems.push_back({{"flops", "tokens_per_active", "tokens"},
                        fmt::format("{} of flops, tokens_per_active and tokens are given; wanted one", ways)});
  }
  if (has_twice(c.flops) || has_twice(c.tokens_per_active) || has_twice(c.tokens)) {
    problems.push_back({{"flops", "tokens_per_active", "tokens"}, "a budget is named twice"});
  }
}

}  // namespace

ConfigProblems validate(const SweepConfig& c) {
  ConfigProblems problems = range_problems(c);
  add_ratio_problems(c, problems);
  add_budget_problems(c, problems);
  if (c.seeds.empty()) problems.push_back({{"seeds"}, "is empty; wanted at least one"});
  if (has_twice(c.seeds)) problems.push_back({{"seeds"}, "names a seed twice"});
  if (has_twice(c.controls)) problems.push_back({{"controls"}, "names a control twice"});
  if (c.kind == SweepKind::kTime && c.rates.empty()) {
    problems.push_back({{"rates", "kind"}, "is empty; wanted the results.csv of a sweep that was run and reported"});
  }
  if (c.warmup_share + c.decay_share > 1) {
    problems.push_back({{"decay_share", "warmup_share"},
                        fmt::format("{} + warmup_share {} is above 1", c.decay_share, c.warmup_share)});
  }
  return problems;
}

ConfigProblems validate(const SweepFile& file) {
  ConfigProblems problems;
  append_problems(problems, "sweep", validate(file.sweep));
  for (ConfigProblem& problem : validate(static_cast<const RunConfig&>(file))) problems.push_back(std::move(problem));
  const MoeConfig& moe = file.model.moe;
  if (file.sweep.kind != SweepKind::kMemory && moe.num_experts <= moe.top_k) {
    problems.push_back({{"model.moe.num_experts", "model.moe.top_k"},
                        fmt::format("{} experts with top_k {} leave no idle ones to exchange for tables; the nearest "
                                    "feasible is {}",
                                    moe.num_experts, moe.top_k, moe.top_k + 1)});
  }
  if (!file.model.engram.enabled()) {
    problems.push_back({{"model.engram.layers"}, "is empty; wanted the layers that get tables in the sweep"});
  }
  if (file.optimizer.schedule.kind != ScheduleKind::kWsd && file.sweep.decay_share > 0) {
    problems.push_back({{"sweep.decay_share", "optimizer.schedule.kind"},
                        fmt::format("{} without optimizer.schedule.kind wsd", file.sweep.decay_share)});
  }
  return problems;
}

}  // namespace engram
