#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "trainer/progress.h"
#include "trainer/sweep_plan.h"

namespace engram {
namespace {

constexpr const char* kColumns = "{:<{}}{:>9}{:>8}{:>10}{:>7}{:>8}{:>8}{:>9}{:>8}{:>8}{:>9}{:>7}{:>8}{:>9}{:>8}\n";

std::string count_text(int64_t count) { return count == 0 ? "-" : scaled_text(static_cast<double>(count)); }

std::string percent_text(double share) { return fmt::format("{:+.2f}%", 100 * share); }

// Seconds of a trial at the rate the file gives; NaN where it gives none.
double seconds_of(const SweepFile& file, const TrialFacts& facts) {
  if (file.sweep.flop_rate == 0) return kNotMeasured;
  return facts.flops_per_token * static_cast<double>(facts.tokens) / file.sweep.flop_rate;
}

std::string memory_text(const SweepPoint& point) {
  return point.memory ? fmt::format("{:.1f}", static_cast<double>(*point.memory) / (1 << 20)) : "-";
}

std::string line_of(const SweepFile& file, const SweepPoint& point, size_t label_width) {
  const TrialFacts& f = point.facts;
  const double seconds = seconds_of(file, f);
  return fmt::format(kColumns, point_label(f), label_width, fmt::format("{:.4f}", f.achieved), f.experts,
                     f.rows_per_head == 0 ? "-" : fmt::format("{}", f.rows_per_head), f.shared_width,
                     count_text(f.table_parameters), count_text(f.total_parameters),
                     percent_text(point.total_difference), count_text(f.active_parameters),
                     percent_text(point.active_difference), scaled_text(f.flops_per_token), f.steps,
                     count_text(f.tokens), memory_text(point), std::isnan(seconds) ? "-" : duration_text(seconds));
}

const char* budget_name(const SweepConfig& sweep) {
  if (!sweep.flops.empty()) return "FLOPs (6 x active x tokens)";
  return sweep.tokens_per_active.empty() ? "tokens" : "tokens per active parameter";
}

}  // namespace

std::string plan_text(const SweepFile& file, const SweepPlan& plan) {
  std::string text;
  double budget = kNotMeasured, flops = 0;
  size_t label_width = 12;
  for (const SweepPoint& point : plan.points) label_width = std::max(label_width, point_label(point.facts).size() + 1);
  for (const SweepPoint& point : plan.points) {
    if (point.facts.budget != budget) {
      budget = point.facts.budget;
      text += fmt::format("{}budget {:g} {}\n", text.empty() ? "" : "\n", budget, budget_name(file.sweep));
      text += fmt::format(kColumns, "point", label_width, "achieved", "experts", "rows/head", "shared", "tables",
                          "total", "", "active", "", "FLOP/tok", "steps", "tokens", "MiB/rank", "time");
    }
    text += line_of(file, point, label_width);
  }
  for (const PlannedTrial& trial : plan.trials) {
    flops += trial.facts.flops_per_token * static_cast<double>(trial.facts.tokens);
  }
  text += fmt::format("\n{} points x {} seeds = {} trials on {} ranks each, {:.3g} FLOP", plan.points.size(),
                      file.sweep.seeds.size(), plan.trials.size(), file.sweep.ranks, flops);
  text += file.sweep.flop_rate == 0
              ? "; sweep.flop_rate gives no time\n"
              : fmt::format(", {} one after the other\n", duration_text(flops / file.sweep.flop_rate));
  text += "Totals and active parameters are without embedding and head, differences to the model without tables.\n";
  return text;
}

}  // namespace engram
