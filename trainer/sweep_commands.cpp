#include "trainer/sweep_commands.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "data/atomic_file.h"
#include "data/file_lock.h"
#include "trainer/config.h"
#include "trainer/exit_codes.h"
#include "trainer/requests.h"
#include "trainer/sweep_launch.h"
#include "trainer/sweep_report.h"
#include "trainer/sweep_run.h"
#include "trainer/sweep_status.h"

namespace engram {
namespace {

// One manager of a whole sweep at a time.
FileLock lock_sweep(const std::string& directory) {
  FileLock lock(directory + "/manager.lock", /*wait=*/false);
  ENGRAM_CHECK(lock.held(), directory, ": another `engram sweep run` works on it; wait for it, or stop it first");
  return lock;
}

void check_numbers(const std::vector<int64_t>& numbers, const SweepJournal& journal) {
  const auto most = static_cast<int64_t>(journal.trials().size()) - 1;
  for (const int64_t number : numbers) {
    if (number > most) throw ConfigError(fmt::format("trial {}: there are trials 0 to {}", number, most));
  }
}

void skip_trials(const std::vector<int64_t>& numbers, SweepJournal& journal) {
  check_numbers(numbers, journal);
  for (const int64_t number : numbers) {
    TrialEntry entry = journal.trial(number);
    ENGRAM_CHECK(entry.state != TrialState::kRunning, "trial ", number, " runs; wanted one that does not, to skip");
    if (entry.state == TrialState::kDone) continue;
    entry.state = TrialState::kSkipped;
    entry.reason = "skipped on request";
    journal.record(entry);
  }
}

void write_slurm_array(const SweepRunCommand& command, const SweepFile& file, const SweepJournal& journal) {
  std::vector<int64_t> left;
  for (const TrialEntry& entry : journal.trials()) {
    if (entry.state == TrialState::kQueued || entry.state == TrialState::kRunning) left.push_back(entry.number);
  }
  ENGRAM_CHECK(!left.empty(), file.directory(), ": no trial is left to run");
  ENGRAM_CHECK(command.sets.empty(), "--slurm: the tasks read the sweep file as it is; put what --set says into it");
  const std::string path = file.directory() + "/array.sbatch";
  const int64_t jobs = command.jobs > 0 ? command.jobs : static_cast<int64_t>(left.size());
  write_file_atomically(path, slurm_script(file, command.config, left, jobs));
  std::cout << "wrote " << path << " for " << left.size() << " trials" << std::endl;
  if (!command.submit) {
    std::cout << "next: sbatch " << path << std::endl;
    return;
  }
  ChildProcess child({.arguments = {"sbatch", path}, .environment = {}, .output = "/dev/stdout"});
  child.release();
  const int code = child.wait();
  ENGRAM_CHECK(code == 0, "sbatch ended with code ", code, code == 127 ? "; it is not installed here" : "");
}

// Of a report.
std::string default_output(const std::vector<std::string>& sources) {
  for (const std::string& source : sources) {
    if (std::filesystem::is_directory(source)) return source + "/report";
  }
  throw ConfigError(sources.at(0) + ": is not a directory; wanted that of a sweep, or --output and a results.csv");
}

}  // namespace

void run_sweep_plan(const SweepPlanCommand& command) {
  const SweepFile file = load_sweep(command.config, command.sets);
  std::cout << plan_text(file, make_plan(file));
}

int run_sweep(const SweepRunCommand& command) {
  const SweepFile file = load_sweep(command.config, command.sets);
  const SweepPlan plan = make_plan(file);
  for (const SweepPoint& point : plan.points) check_trainable(point.config);
  if (!SweepJournal::exists(file.directory())) SweepJournal::begin(file.directory(), plan);
  std::optional<FileLock> lock;
  if (command.trials.empty()) lock.emplace(lock_sweep(file.directory()));
  SweepJournal journal(file.directory());
  journal.check_same(plan);
  check_numbers(command.trials, journal);
  skip_trials(command.skip, journal);
  if (command.slurm) {
    write_slurm_array(command, file, journal);
    return kExitOk;
  }
  const auto [failed, left] = run_trials(file, plan, {command.jobs, command.trials, command.retry}, std::cout);
  if (left > 0 && signalled() == Request::kPreempt) return kExitRequeue;
  ENGRAM_CHECK(failed == 0, failed, " trials failed; why is above and in output.log of their directories under ",
               trials_directory(file.directory()), "; `engram sweep run --retry` runs them once more");
  return kExitOk;
}

void run_sweep_add(const SweepAddCommand& command) {
  const SweepFile file = load_sweep(command.config, command.sets);
  const SweepPlan plan = make_plan(file);
  ENGRAM_CHECK(SweepJournal::exists(file.directory()), file.directory(),
               ": has no journal to add to; `engram sweep run` begins one");
  const FileLock lock = lock_sweep(file.directory());
  SweepJournal journal(file.directory());
  const int64_t added = journal.add(plan);
  std::cout << fmt::format("{} trials added; {} in all\n", added, journal.trials().size());
}

void run_sweep_status(const SweepStatusCommand& command) { std::cout << status_text(command.directory); }

void run_sweep_report(const SweepReportCommand& command) {
  std::cout << write_report(command.sources, command.output.empty() ? default_output(command.sources) : command.output);
}

}  // namespace engram
