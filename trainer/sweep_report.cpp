#include "trainer/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "trainer/sweep_sources.h"

namespace engram {
namespace {

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

// Tokens at which a curve reaches that loss; NaN where it does not, or begins below it.
double tokens_to_loss(const std::vector<CurvePoint>& curve, double loss) {
  const auto below =
      std::find_if(curve.begin(), curve.end(), [&](const CurvePoint& point) { return point.loss <= loss; });
  if (below == curve.end() || below == curve.begin()) return kNotMeasured;
  const CurvePoint& before = *(below - 1);
  const double part = (before.loss - loss) / (before.loss - below->loss);
  return before.tokens + part * (below->tokens - before.tokens);
}

bool is_memory(const std::string& kind) { return kind == enum_name(SweepKind::kMemory); }

double position_of(const TrialFacts& facts) {
  return is_memory(facts.kind) ? static_cast<double>(facts.table_parameters) : facts.ratio;
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
  for (CurveArm* arm :
       {&point.loss, &point.seconds, &point.tok_s, &point.equal_time, &point.token_share, &point.decayed_share}) {
    arm->x = position_of(facts);
  }
  return point;
}

bool is_pure(const TrialFacts& facts) { return facts.table_parameters == 0 && facts.control.empty(); }

void add_trial(SweepReport& report, const ReportedTrial& trial) {
  ReportedBudget& budget = budget_of(report, trial);
  if (!is_done(trial)) {
    budget.num_missing += trial.entry.state == TrialState::kSkipped ? 0 : 1;
    return;
  }
  const TrialFacts& facts = trial.entry.facts;
  const TrialOutcome& outcome = trial.entry.outcome;
  ReportedPoint& point = point_of(budget, facts);
  add(point.loss, facts.seed, outcome.loss);
  add(point.seconds, facts.seed, outcome.seconds);
  add(point.tok_s, facts.seed, outcome.tok_s);
}

bool same_model(const TrialFacts& a, const TrialFacts& b) {
  return a.control == b.control && a.experts == b.experts && a.rows_per_head == b.rows_per_head &&
         a.table_parameters == b.table_parameters && a.total_parameters == b.total_parameters &&
         a.active_parameters == b.active_parameters;
}

// Of all finished trials of that model and seed, ascending by tokens.
std::vector<CurvePoint> final_losses(const SweepReport& report, const TrialFacts& facts) {
  std::map<int64_t, double> losses;
  for (const ReportedTrial& trial : report.trials) {
    const TrialFacts& other = trial.entry.facts;
    if (!is_done(trial) || other.seed != facts.seed || !same_model(other, facts)) continue;
    losses.emplace(other.tokens, trial.entry.outcome.loss);
  }
  std::vector<CurvePoint> curve;
  for (const auto& [tokens, loss] : losses) {
    curve.push_back({.step = 0, .tokens = static_cast<double>(tokens), .seconds = kNotMeasured, .loss = loss});
  }
  return curve;
}

// Loss at the pure MoE's time and tokens to its loss, by the validations of a finished trial and by the runs of its
// model.
void compare_with_pure(SweepReport& report, const ReportedTrial& trial) {
  const TrialFacts& facts = trial.entry.facts;
  ReportedBudget& budget = budget_of(report, trial);
  const ReportedPoint* pure = pure_point(reference_of(report, budget));
  if (pure == nullptr) return;
  const auto seconds = pure->seconds.at(facts.seed), loss = pure->loss.at(facts.seed);
  if (!seconds || !loss) return;
  ReportedPoint& point = point_of(budget, facts);
  const auto pure_tokens = static_cast<double>(pure->facts.tokens);
  const auto add_share = [&](CurveArm& arm, const std::vector<CurvePoint>& curve) {
    const double tokens = tokens_to_loss(curve, *loss);
    if (std::isfinite(tokens)) add(arm, facts.seed, tokens / pure_tokens);
  };
  add_share(point.decayed_share, final_losses(report, facts));
  if (trial.validations.empty()) return;
  add_share(point.token_share, trial.validations);
  add(point.equal_time, facts.seed, loss_at_time(trial.validations, *seconds));
}

bool has_tokens(const ReportedBudget& budget, int64_t tokens) {
  const auto fits = [&](const ReportedPoint& point) { return point.facts.tokens == tokens; };
  return std::any_of(budget.curve.begin(), budget.curve.end(), fits) ||
         std::any_of(budget.controls.begin(), budget.controls.end(), fits);
}

}  // namespace

SweepReport collect_report(const std::vector<std::string>& sources) {
  SweepReport report{.trials = collect_trials(sources), .budgets = {}};
  for (const ReportedTrial& trial : report.trials) add_trial(report, trial);
  for (ReportedBudget& budget : report.budgets) {
    const auto is_before = [](const ReportedPoint& a, const ReportedPoint& b) { return a.loss.x < b.loss.x; };
    std::stable_sort(budget.curve.begin(), budget.curve.end(), is_before);
    if (is_memory(budget.kind)) std::stable_sort(budget.controls.begin(), budget.controls.end(), is_before);
  }
  for (const ReportedTrial& trial : report.trials) {
    if (is_done(trial)) compare_with_pure(report, trial);
  }
  return report;
}

const ReportedPoint* pure_point(const ReportedBudget& budget) {
  for (const ReportedPoint& point : budget.curve) {
    if (is_pure(point.facts)) return &point;
  }
  return nullptr;
}

const ReportedBudget& reference_of(const SweepReport& report, const ReportedBudget& budget) {
  if (pure_point(budget) != nullptr) return budget;
  for (const ReportedBudget& other : report.budgets) {
    const ReportedPoint* pure = pure_point(other);
    if (pure != nullptr && other.budget == budget.budget && has_tokens(budget, pure->facts.tokens)) return other;
  }
  return budget;
}

const ReportedPoint* unchanged_point(const SweepReport& report, const ReportedBudget& budget,
                                     const ReportedPoint& control) {
  const auto fits = [&](const ReportedPoint& point) {
    const TrialFacts &a = point.facts, &b = control.facts;
    return is_memory(b.kind) ? is_memory(a.kind) && a.table_rows == b.table_rows : a.ratio == b.ratio;
  };
  for (const ReportedBudget* where : {&budget, &reference_of(report, budget)}) {
    const auto found = std::find_if(where->curve.begin(), where->curve.end(), fits);
    if (found != where->curve.end()) return &*found;
  }
  return nullptr;
}

std::vector<CurveArm> arms_of(const ReportedBudget& budget) {
  std::vector<CurveArm> arms;
  for (const ReportedPoint& point : budget.curve) arms.push_back(point.loss);
  return arms;
}

std::vector<MemoryLine> memory_lines(const ReportedBudget& budget) {
  std::vector<MemoryLine> lines{{.control = "", .arms = {}}};
  for (const auto* points : {&budget.curve, &budget.controls}) {
    for (const ReportedPoint& point : *points) {
      if (point.loss.x == 0) continue;
      const std::string& control = point.facts.control;
      const auto has_name = [&](const MemoryLine& line) { return line.control == control; };
      auto line = std::find_if(lines.begin(), lines.end(), has_name);
      if (line == lines.end()) line = lines.insert(line, {.control = control, .arms = {}});
      line->arms.push_back(point.loss);
    }
  }
  return lines;
}

}  // namespace engram
