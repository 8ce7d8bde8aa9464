#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/metrics.h"
#include "trainer/sweep_config.h"

namespace engram {

// What is known of a trial before it runs; the journal, results.csv and results.h5 have these columns. NaN or 0 where a
// field has no meaning for the kind of sweep.
struct TrialFacts {
  double ratio = kNotMeasured;     // asked for
  double achieved = kNotMeasured;  // share of the sparse parameters that is experts, from real counts
  int64_t table_rows = 0;          // kind memory: asked for
  double budget = kNotMeasured;    // as in the sweep file
  int64_t seed = 0;
  int64_t experts = 0;
  int64_t rows_per_head = 0;  // base rows of the first order; 0 = no tables
  int64_t shared_width = 0;
  int64_t table_parameters = 0;
  int64_t total_parameters = 0;  // this and the next without embedding and head
  int64_t active_parameters = 0;
  int64_t steps = 0;
  int64_t tokens = 0;
  double flops_per_token = kNotMeasured;
  std::string kind;
  std::string control;  // "" = a point of the curve
};

template <class Facts, class Visitor>
void visit_trial_facts(Facts& f, Visitor&& field) {
  field("ratio", f.ratio);
  field("achieved", f.achieved);
  field("table_rows", f.table_rows);
  field("budget", f.budget);
  field("seed", f.seed);
  field("experts", f.experts);
  field("rows_per_head", f.rows_per_head);
  field("shared_width", f.shared_width);
  field("table_parameters", f.table_parameters);
  field("total_parameters", f.total_parameters);
  field("active_parameters", f.active_parameters);
  field("steps", f.steps);
  field("tokens", f.tokens);
  field("flops_per_token", f.flops_per_token);
  field("kind", f.kind);
  field("control", f.control);
}

// "ratio 0.8", "ratio 0.8, no_conv", "rows 1000".
std::string point_label(const TrialFacts& facts);

// A trial but for its seed.
struct SweepPoint {
  TrialFacts facts;
  RunConfig config;
  double total_difference = 0;  // relative to the model without tables
  double active_difference = 0;
  std::optional<int64_t> memory;  // bytes of a rank; only where estimate_memory() knows the model
};

// An ordinary run: `config` names it trial-NNNN in the sweep's directory.
struct PlannedTrial {
  TrialFacts facts;
  RunConfig config;
  std::string digest;  // of what was set in it, place and name left out: its identity
};

struct SweepPlan {
  std::string directory;
  std::vector<SweepPoint> points;
  std::vector<PlannedTrial> trials;  // budget by budget, seed by seed, point by point; config.run.name is not set yet
};

// Throws ConfigError that lists everything that cannot be done, each with the nearest thing that can.
SweepPlan make_plan(const SweepFile& file);

// What `sweep plan` prints: one line per point, then sums.
std::string plan_text(const SweepFile& file, const SweepPlan& plan);

// The overrides ("path=value") that a control of sweep.controls stands for. Throws ConfigError for an unknown name.
// wide_shared has none: it changes the solution instead.
std::vector<std::string> control_overrides(const std::string& control);
inline constexpr const char* kWideShared = "wide_shared";

// Where trial `number` of a sweep runs, and its name there.
std::string trials_directory(const std::string& sweep_directory);
std::string trial_name(int64_t number);

}  // namespace engram
