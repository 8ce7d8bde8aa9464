#include "trainer/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "data/atomic_file.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// Loss at that time of a validation curve, by line between the neighbours; the first and last one outside.
double loss_at_time(const std::vector<CurvePoint>& curve, double seconds) {
  if (curve.empty()) return kNotMeasured;
  const auto after =
      std::find_if(curve.begin(), curve.end(), [&](const CurvePoint& point) { return point.seconds >= seconds; });
  if (after == curve.end()) return curve.back().loss;
  if (after == curve.begin()) return after->loss;
  const CurvePoint& before = *(after - 1);
  const double part = (seconds - before.seconds) / (after->seconds - before.seconds);
  return before.loss + part * (after->loss - before.loss);
}

// Tokens at which a validation curve reaches that loss; NaN where it does not.
double tokens_to_loss(const std::vector<CurvePoint>& curve, double loss) {
  const auto below =
      std::find_if(curve.begin(), curve.end(), [&](const CurvePoint& point) { return point.loss <= loss; });
  if (below == curve.end()) return kNotMeasured;
  if (below == curve.begin()) return below->tokens;
  const CurvePoint& before = *(below - 1);
  const double part = (before.loss - loss) / (before.loss - below->loss);
  return before.tokens + part * (below->tokens - before.tokens);
}

double position_of(const TrialFacts& facts) {
  const bool is_memory = facts.kind == enum_name(SweepKind::kMemory);
  return is_memory ? static_cast<double>(facts.table_parameters) : facts.ratio;
}

bool same_point(const TrialFacts& a, const TrialFacts& b) {
  return a.control == b.control && position_of(a) == position_of(b);
}

void add(CurveArm& arm, int64_t seed, double value) {
  arm.seeds.push_back(seed);
  arm.losses.push_back(value);
}

ReportedBudget& budget_of(SweepReport& report, const ReportedTrial& trial) {
  const TrialFacts& facts = trial.entry.facts;
  for (ReportedBudget& known : report.budgets) {
    if (known.sweep == trial.sweep && known.budget == facts.budget) return known;
  }
  ReportedBudget& budget = report.budgets.emplace_back();
  budget.sweep = trial.sweep;
  budget.kind = facts.kind;
  budget.budget = facts.budget;
  return budget;
}

ReportedPoint& point_of(ReportedBudget& budget, const TrialFacts& facts) {
  std::vector<ReportedPoint>& points = facts.control.empty() ? budget.curve : budget.controls;
  for (ReportedPoint& known : points) {
    if (same_point(known.facts, facts)) return known;
  }
  ReportedPoint& point = points.emplace_back();
  point.facts = facts;
  for (CurveArm* arm : {&point.loss, &point.seconds, &point.tok_s, &point.equal_time, &point.token_share}) {
    arm->x = position_of(facts);
  }
  return point;
}

bool is_pure(const TrialFacts& facts) { return facts.table_parameters == 0 && facts.control.empty(); }

// The finished trial without tables that a trial is compared with: same sweep, budget and seed.
const ReportedTrial* counterpart(const SweepReport& report, const ReportedTrial& trial) {
  for (const ReportedTrial& other : report.trials) {
    const bool fits = other.sweep == trial.sweep && other.entry.facts.budget == trial.entry.facts.budget &&
                      other.entry.facts.seed == trial.entry.facts.seed && is_pure(other.entry.facts);
    if (fits && other.entry.state == TrialState::kDone) return &other;
  }
  return nullptr;
}

void add_trial(SweepReport& report, const ReportedTrial& trial) {
  ReportedBudget& budget = budget_of(report, trial);
  if (trial.entry.state != TrialState::kDone) {
    budget.num_missing += trial.entry.state == TrialState::kSkipped ? 0 : 1;
    return;
  }
  const TrialFacts& facts = trial.entry.facts;
  const TrialOutcome& outcome = trial.entry.outcome;
  ReportedPoint& point = point_of(budget, facts);
  add(point.loss, facts.seed, outcome.loss);
  add(point.seconds, facts.seed, outcome.seconds);
  add(point.tok_s, facts.seed, outcome.tok_s);
  const ReportedTrial* pure = counterpart(report, trial);
  if (pure == nullptr || trial.validations.empty() || pure->validations.empty()) return;
  add(point.equal_time, facts.seed, loss_at_time(trial.validations, pure->entry.outcome.seconds));
  const double tokens = tokens_to_loss(trial.validations, pure->entry.outcome.loss);
  if (std::isfinite(tokens)) {
    add(point.token_share, facts.seed, tokens / static_cast<double>(pure->entry.facts.tokens));
  }
}

}  // namespace

SweepReport collect_report(const std::vector<std::string>& directories) {
  SweepReport report;
  for (const std::string& directory : directories) {
    const SweepJournal journal(directory);
    const std::string name = fs::path(directory + "/").parent_path().filename().string();
    for (const TrialEntry& entry : journal.trials()) {
      const TrialFiles files = read_trial_files(trial_directory(directory, entry.number), entry.facts);
      report.trials.push_back({.sweep = name, .entry = entry, .validations = files.validations});
    }
  }
  for (const ReportedTrial& trial : report.trials) add_trial(report, trial);
  for (ReportedBudget& budget : report.budgets) {
    std::stable_sort(budget.curve.begin(), budget.curve.end(),
                     [](const ReportedPoint& a, const ReportedPoint& b) { return a.loss.x < b.loss.x; });
  }
  return report;
}

const ReportedPoint* pure_point(const ReportedBudget& budget) {
  for (const ReportedPoint& point : budget.curve) {
    if (is_pure(point.facts)) return &point;
  }
  return nullptr;
}

std::vector<CurveArm> arms_of(const ReportedBudget& budget) {
  std::vector<CurveArm> arms;
  const bool is_memory = budget.kind == enum_name(SweepKind::kMemory);
  for (const ReportedPoint& point : budget.curve) {
    if (!is_memory || point.loss.x > 0) arms.push_back(point.loss);  // a logarithm follows
  }
  return arms;
}

}  // namespace engram
