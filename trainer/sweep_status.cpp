#include "trainer/sweep_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "trainer/progress.h"
#include "trainer/sweep_results.h"

namespace engram {
namespace {

double work_of(const TrialFacts& facts) { return facts.flops_per_token * static_cast<double>(facts.tokens); }

struct Progressed {
  int64_t step = 0;
  double seconds = 0;  // of the steps so far
};

// How far a trial came, by its own files; of a trial that waits, what its next start may go on from at best.
Progressed progress_of(const std::string& directory, const TrialEntry& entry) {
  if (entry.state == TrialState::kDone) return {entry.facts.steps, entry.outcome.seconds};
  const TrialFiles files = read_trial_files(trial_directory(directory, entry.number), entry.facts);
  return {files.last_step, files.seconds};
}

std::string detail_of(const TrialEntry& entry) {
  if (entry.state == TrialState::kDone) return fmt::format("loss {:.4f}", entry.outcome.loss);
  if (entry.state != TrialState::kRunning) return entry.reason;
  switch (liveness(entry.process)) {
    case Liveness::kAlive:
      return fmt::format("process {}", entry.process.pid);
    case Liveness::kDead:
      return "its process is gone; `sweep run` takes it up";
    case Liveness::kUnknown:
      return "on " + entry.process.host;
  }
  return {};
}

}  // namespace

std::string status_text(const std::string& directory) {
  const SweepJournal journal(directory);
  std::string text = fmt::format("{:>5}  {:<8}{:<32}{:>6}{:>14}{:>9}{:>7}  {}\n", "trial", "state", "point", "seed",
                                 "step", "time", "starts", "");
  double done_work = 0, done_seconds = 0, left_work = 0;
  int64_t counts[enum_names(TrialState{}).size()] = {};
  for (const TrialEntry& entry : journal.trials()) {
    const Progressed progress = progress_of(directory, entry);
    const double share = static_cast<double>(progress.step) / static_cast<double>(entry.facts.steps);
    ++counts[static_cast<size_t>(entry.state)];
    done_work += share * work_of(entry.facts);
    done_seconds += progress.seconds;
    const bool is_left = entry.state == TrialState::kQueued || entry.state == TrialState::kRunning;
    if (is_left) left_work += (1 - share) * work_of(entry.facts);
    text +=
        fmt::format("{:>5}  {:<8}{:<32}{:>6}{:>14}{:>9}{:>7}  {}\n", entry.number, enum_name(entry.state),
                    point_label(entry.facts), entry.facts.seed, fmt::format("{}/{}", progress.step, entry.facts.steps),
                    duration_text(progress.seconds), entry.starts, detail_of(entry));
  }
  for (size_t i = 0; i < std::size(counts); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", counts[i], enum_names(TrialState{})[i]);
  }
  if (left_work > 0) {
    const auto running = std::max<int64_t>(1, counts[static_cast<size_t>(TrialState::kRunning)]);
    const double seconds = done_work > 0 ? done_seconds / done_work * left_work / static_cast<double>(running) : NAN;
    text += fmt::format("; about {} left with {} at once", duration_text(seconds), running);
  }
  return text + "\n";
}

}  // namespace engram
