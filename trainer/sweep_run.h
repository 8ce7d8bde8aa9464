#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "trainer/sweep_journal.h"

namespace engram {

struct SweepRunOptions {
  int64_t jobs = 0;           // trials at once; 0 = what the devices hold
  std::vector<int64_t> only;  // trials to work on; empty = all
  bool retry = false;         // queue failed and skipped trials once more
};

// Runs the queued trials of a sweep, each as `engram train` in a process of its own (under mpirun where it has several
// ranks), until each is done, failed or skipped, or a signal asks to stop. May be killed at any moment: a later call
// waits for trials that run on, takes what ended meanwhile, and starts again what was cut off, from its checkpoint
// where there is one. A signal is passed on to the trials, which get two minutes to save.
struct SweepRunResult {
  int64_t failed = 0, left = 0;  // trials
};
SweepRunResult run_trials(const SweepFile& file, const SweepPlan& plan, const SweepRunOptions& options,
                          std::ostream& out);

// Trials that fit side by side: GPUs, or cores on cpu, over ranks; at least 1.
int64_t default_jobs(const SweepFile& file);

}  // namespace engram
