#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/sweep_journal.h"

namespace engram {

// A validation of a trial.
struct CurvePoint {
  int64_t step = 0;
  double tokens = 0;
  double seconds = 0;  // of all steps up to it, as TrialOutcome::seconds
  double loss = kNotMeasured;
};

// What a trial's own files say: metrics.jsonl and events.jsonl in its directory. Lines that a killed trial tore are
// left out.
struct TrialFiles {
  int64_t last_step = 0;
  double seconds = 0;  // up to last_step
  double train_loss = kNotMeasured;
  int64_t skipped_steps = 0;
  std::vector<CurvePoint> validations;  // ascending by step
};
TrialFiles read_trial_files(const std::string& directory, const TrialFacts& facts);

// What a finished trial came to; nothing where it has steps or, with a validation store, its last validation to go.
std::optional<TrialOutcome> outcome_of(const TrialFiles& files, const TrialFacts& facts, bool validates);

// A trial of one of the sweeps of a report.
struct ReportedTrial {
  std::string sweep;  // name of its directory
  TrialEntry entry;
  std::vector<CurvePoint> validations;  // none where it was read from a results.csv
  std::string source;                   // path of the sweep's directory, or of the results.csv
  int64_t line = 0;                     // of the results.csv; 0 = the source is a directory
};
inline bool is_done(const ReportedTrial& trial) { return trial.entry.state == TrialState::kDone; }

std::string trial_directory(const std::string& sweep_directory, int64_t number);

}  // namespace engram
