#include "trainer/sweep_rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "trainer/config.h"
#include "trainer/sweep_tables.h"

namespace engram {
namespace {

struct Sum {
  double total = 0;
  int count = 0;
};

// The trials of a sweep at one budget.
struct RateCurve {
  std::string sweep;
  double budget = 0;
  std::map<double, Sum> sums;  // by ratio
  TrialFacts pure;             // of a trial at ratio 1
};

std::string model_text(const TrialFacts& pure) {
  return fmt::format("{} experts, {} parameters, {} of them active", pure.experts, pure.total_parameters,
                     pure.active_parameters);
}

bool same_model(const TrialFacts& a, const TrialFacts& b) {
  return a.experts == b.experts && a.total_parameters == b.total_parameters &&
         a.active_parameters == b.active_parameters;
}

// Those with a trial at ratio 1.
std::vector<RateCurve> curves_of(const std::vector<ReportedTrial>& trials) {
  std::vector<RateCurve> curves;
  for (const ReportedTrial& trial : trials) {
    const TrialFacts& facts = trial.entry.facts;
    const double rate = trial.entry.outcome.tok_s;
    const bool is_curve = facts.control.empty() && facts.kind != enum_name(SweepKind::kMemory);
    if (!is_curve || !is_done(trial) || !std::isfinite(rate)) continue;
    const auto is_its = [&](const RateCurve& c) { return c.sweep == trial.sweep && c.budget == facts.budget; };
    auto curve = std::find_if(curves.begin(), curves.end(), is_its);
    if (curve == curves.end()) {
      curve = curves.insert(curve, {.sweep = trial.sweep, .budget = facts.budget, .sums = {}, .pure = {}});
    }
    Sum& sum = curve->sums[facts.ratio];
    sum.total += rate;
    ++sum.count;
    if (facts.ratio == 1) curve->pure = facts;
  }
  std::erase_if(curves, [](const RateCurve& curve) { return curve.sums.count(1) == 0; });
  return curves;
}

std::string listed(const std::vector<RateCurve>& curves) {
  std::string text;
  for (const RateCurve& curve : curves) {
    text += fmt::format("{}{} at budget {} ({})", text.empty() ? "" : "; ", curve.sweep, curve.budget,
                        model_text(curve.pure));
  }
  return text;
}

std::vector<ReportedTrial> read_trials(const std::string& path) {
  try {
    return read_results_csv(path);
  } catch (const Error& error) {
    throw ConfigError(fmt::format("sweep.rates: {}", error.what()));
  }
}

// The one whose rates are wanted.
RateCurve chosen(const std::vector<RateCurve>& all, const TrialFacts& pure, const std::string& path) {
  if (all.empty()) throw ConfigError("sweep.rates: " + path + " has no finished trial at ratio 1; wanted one");
  std::vector<RateCurve> curves = all;
  std::erase_if(curves, [&](const RateCurve& curve) { return !same_model(curve.pure, pure); });
  if (curves.empty()) {
    throw ConfigError(fmt::format("sweep.rates: {} has ratio 1 of other models: {}; wanted that of this sweep, {}",
                                  path, listed(all), model_text(pure)));
  }
  if (curves.size() == 1) return curves[0];
  const std::string several = listed(curves);
  std::erase_if(curves, [&](const RateCurve& curve) { return curve.budget != pure.budget; });
  if (curves.size() == 1) return curves[0];
  throw ConfigError(
      fmt::format("sweep.rates: {} has this model several times: {}; wanted one sweep at budget {}, as "
                  "`engram sweep report` of it alone writes it",
                  path, several, pure.budget));
}

}  // namespace

std::vector<MeasuredRate> read_rates(const std::string& path, const TrialFacts& pure) {
  std::vector<MeasuredRate> rates;
  for (const auto& [at, sum] : chosen(curves_of(read_trials(path)), pure, path).sums) {
    rates.push_back({at, sum.total / sum.count});
  }
  return rates;
}

double rate_at(const std::vector<MeasuredRate>& rates, double ratio) {
  const auto above = std::find_if(rates.begin(), rates.end(), [&](const MeasuredRate& r) { return r.ratio >= ratio; });
  if (above == rates.end()) return rates.back().tokens_per_second;
  if (above == rates.begin() || above->ratio == ratio) return above->tokens_per_second;
  const MeasuredRate& below = *(above - 1);
  const double part = (ratio - below.ratio) / (above->ratio - below.ratio);
  return below.tokens_per_second + part * (above->tokens_per_second - below.tokens_per_second);
}

}  // namespace engram
