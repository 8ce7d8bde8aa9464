#pragma once

#include <string>
#include <vector>

#include "trainer/sweep_fit.h"
#include "trainer/sweep_results.h"

namespace engram {

// Trials that differ in the seed alone.
struct ReportedPoint {
  TrialFacts facts;  // of its first trial
  CurveArm loss;     // of the done ones, by seed
  CurveArm seconds, tok_s;
  CurveArm equal_time;  // loss at the time when the pure MoE of the same seed had finished
  // Of the pure MoE's tokens, until its final loss was reached; of seeds that reached it and did not begin below it.
  CurveArm token_share;
  CurveArm decayed_share;  // the same, between the final losses of runs of this model that had fewer and more tokens
};

// The points of one sweep at one budget. A curve of kind memory has x = table parameters, others x = ratio.
struct ReportedBudget {
  std::string sweep, kind;
  double budget = kNotMeasured;
  std::vector<ReportedPoint> curve;     // ascending by x; those with a finished trial
  std::vector<ReportedPoint> controls;  // points apart from it
  int64_t num_missing = 0;              // trials that are not done
};

struct SweepReport {
  std::vector<ReportedTrial> trials;
  std::vector<ReportedBudget> budgets;
};

// Of directories of sweeps, their journals and their trials' own files, and of files that are a results.csv, as
// collect_trials() has them. What takes validations is left out for trials of the latter. Throws Error where a
// directory has no journal.
SweepReport collect_report(const std::vector<std::string>& sources);

// The point of the curve without tables, null where there is none.
const ReportedPoint* pure_point(const ReportedBudget& budget);
// The budget whose points those of `budget` are compared with: itself where it has a pure MoE, else one of another
// reported sweep that has it, at the same budget and with as many tokens, else itself.
const ReportedBudget& reference_of(const SweepReport& report, const ReportedBudget& budget);
// The point of the curve at the ratio or size of a control, in its own sweep or in the reference; null where neither
// has it.
const ReportedPoint* unchanged_point(const SweepReport& report, const ReportedBudget& budget,
                                     const ReportedPoint& control);
// The arms of the curve, for the fits.
std::vector<CurveArm> arms_of(const ReportedBudget& budget);

// Kind memory: the curve, or a control at the sizes of the curve; without size 0, which has no logarithm.
struct MemoryLine {
  std::string control;         // "" = the curve
  std::vector<CurveArm> arms;  // ascending by x
};
// The curve first.
std::vector<MemoryLine> memory_lines(const ReportedBudget& budget);

// analysis.json: points, fits, intervals, tests; what the figures are drawn from.
std::string analysis_json(const SweepReport& report);

// One page that needs no other file; `figures` are SVG texts.
std::string report_html(const SweepReport& report, const std::vector<std::string>& figures);

// Writes all of it to `output`: draws the figures with scripts/plot_sweep.py where Python and matplotlib are there.
// Returns what to tell the user.
std::string write_report(const std::vector<std::string>& sources, const std::string& output);

}  // namespace engram
