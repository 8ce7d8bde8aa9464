#pragma once

#include <array>
#include <string>
#include <vector>

#include "trainer/sweep_plan.h"
#include "trainer/sweep_process.h"

namespace engram {

enum class TrialState { kQueued, kRunning, kDone, kFailed, kSkipped };
constexpr auto enum_names(TrialState) {
  return std::array<std::string_view, 5>{"queued", "running", "done", "failed", "skipped"};
}

// What a finished trial leaves in the journal.
struct TrialOutcome {
  double loss = kNotMeasured;        // of the last validation; of the last step where there is no validation store
  double train_loss = kNotMeasured;  // mean over the last tenth of the steps
  double seconds = kNotMeasured;     // of all steps: data, exchange and optimizer included; start-up and validation not
  double tok_s = kNotMeasured;       // tokens over seconds
  int64_t skipped_steps = 0;
};

template <class Outcome, class Visitor>
void visit_outcome(Outcome& o, Visitor&& field) {
  field("loss", o.loss);
  field("train_loss", o.train_loss);
  field("seconds", o.seconds);
  field("tok_s", o.tok_s);
  field("skipped_steps", o.skipped_steps);
}

// A trial as the journal knows it.
struct TrialEntry {
  int64_t number = 0;  // stable: position in the journal
  std::string digest;
  TrialFacts facts;
  TrialState state = TrialState::kQueued;
  ProcessIdentity process;  // running: of its launcher
  int64_t slot = 0;         // running: which share of the devices
  int64_t starts = 0;       // how often it was started
  int64_t fruitless = 0;    // ends in a row without a new checkpoint
  int64_t checkpoint = 0;   // newest checkpoint's step when it was last started
  TrialOutcome outcome;     // done
  std::string reason;       // failed, skipped, or queued once more: why
};

// journal.jsonl in a sweep's directory: one line for every trial and for every change of a trial's state. Each change
// is one appended line, synced before the call returns; a process may be killed at any moment, and at worst the line
// that it was writing is not there. Several processes may append: they take turns by a lock on journal.lock.
class SweepJournal {
 public:
  // Reads the journal of the directory. Throws Error where there is none, or it is damaged elsewhere than in a torn
  // last line.
  explicit SweepJournal(std::string directory);

  static bool exists(const std::string& directory);
  // Begins a journal with all trials of the plan, numbered in its order. It appears complete or not at all.
  static void begin(const std::string& directory, const SweepPlan& plan);

  // Appends the trials of the plan that are not there yet. Returns how many. Throws ConfigError where the plan has no
  // longer all trials of the journal.
  int64_t add(const SweepPlan& plan);
  // Throws ConfigError that names what differs, unless the plan has exactly the trials of the journal.
  void check_same(const SweepPlan& plan) const;

  const std::vector<TrialEntry>& trials() const { return trials_; }
  const TrialEntry& trial(int64_t number) const { return trials_.at(static_cast<size_t>(number)); }
  // Reads again what other processes may have appended.
  void refresh();
  // The entry as it shall be from now on; number, digest and facts stay as they are.
  void record(const TrialEntry& entry);

 private:
  void read(const std::string& text);
  void append(const std::string& lines) const;
  std::string path() const;

  std::string directory_;
  std::vector<TrialEntry> trials_;
};

}  // namespace engram
