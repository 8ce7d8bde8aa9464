#include "trainer/sweep_run.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <thread>

#include "data/atomic_file.h"
#include "data/file_lock.h"
#include "trainer/checkpoint.h"
#include "trainer/config.h"
#include "trainer/exit_codes.h"
#include "trainer/progress.h"
#include "trainer/requests.h"
#include "trainer/run_tokenizer.h"
#include "trainer/sweep_launch.h"
#include "trainer/sweep_results.h"

namespace engram {
namespace {

constexpr int64_t kMostInterruptions = 50;  // in a row without a new checkpoint: then something kills it for a reason
constexpr auto kPollInterval = std::chrono::milliseconds(50);
constexpr auto kTimeToSave = std::chrono::minutes(2);  // a job of Slurm has three
constexpr auto kTimeToDie = std::chrono::seconds(10);  // of a killed trial, whose ranks outlive their launcher

bool asked_to_stop() { return asks_to_leave(signalled()); }

// Whether a trial that ended so would end so again.
bool is_hopeless(int code) { return code == kExitUsage || code == kExitData || code == kExitGiveUp; }

// A trial that this process looks after: started by it, or by a manager that died.
struct Watched {
  FileLock lock;
  std::optional<ChildProcess> child;
  std::optional<int> code;  // of the child, once it has ended
};

class Manager {
 public:
  Manager(const SweepFile& file, const SweepPlan& plan, const SweepRunOptions& options, std::ostream& out)
      : file_(file),
        options_(options),
        out_(out),
        jobs_(options.jobs > 0 ? options.jobs : default_jobs(file)),
        journal_(file.directory()) {
    for (const PlannedTrial& trial : plan.trials) configs_.emplace(trial.digest, trial.config);
  }

  SweepRunResult run() {
    queue_again();
    out_ << fmt::format("{} trials, {} at once, {} done already; journal in {}\n", mine().size(), jobs_,
                        count(TrialState::kDone), file_.directory())
         << std::flush;
    for (const int64_t number : mine()) {
      if (journal_.trial(number).state == TrialState::kDone) remove_weights(number);  // a killed manager may not have
    }
    while (!asked_to_stop()) {
      take_over();
      look_after();
      start_queued();
      if (count(TrialState::kQueued) + count(TrialState::kRunning) == 0) break;
      std::this_thread::sleep_for(kPollInterval);
    }
    if (asked_to_stop()) stop_all();
    return summary();
  }

 private:
  std::vector<int64_t> mine() const {
    std::vector<int64_t> numbers = options_.only;
    if (!numbers.empty()) return numbers;
    for (const TrialEntry& entry : journal_.trials()) numbers.push_back(entry.number);
    return numbers;
  }
  int64_t count(TrialState state) const {
    const std::vector<int64_t> numbers = mine();
    return std::count_if(numbers.begin(), numbers.end(),
                         [&](int64_t number) { return journal_.trial(number).state == state; });
  }
  std::string directory_of(int64_t number) const { return trial_directory(file_.directory(), number); }
  std::string lock_of(int64_t number) const { return directory_of(number) + "/manager.lock"; }
  static std::string name_of(const TrialEntry& entry) {
    return fmt::format("trial {} ({}, seed {})", entry.number, point_label(entry.facts), entry.facts.seed);
  }
  void tell(const TrialEntry& entry, const std::string& what) {
    out_ << fmt::format("{} {}; {} of {} done\n", name_of(entry), what, count(TrialState::kDone), mine().size())
         << std::flush;
  }

  void queue_again() {
    if (!options_.retry) return;
    for (const int64_t number : mine()) {
      TrialEntry entry = journal_.trial(number);
      if (entry.state != TrialState::kFailed && entry.state != TrialState::kSkipped) continue;
      entry.state = TrialState::kQueued;
      entry.fruitless = 0;
      entry.reason = "queued once more on request";
      journal_.record(entry);
    }
  }

  // Trials that another manager runs or ran: the journal says so, but they are not watched here. One whose lock is free
  // was left behind, and is watched from here on, whether its process lives or not.
  void take_over() {
    for (const int64_t number : mine()) {
      const bool is_foreign = journal_.trial(number).state == TrialState::kRunning && watched_.count(number) == 0;
      if (!is_foreign) continue;
      FileLock lock(lock_of(number), /*wait=*/false);
      if (!lock.held()) continue;  // its manager lives, or a child that it forked has not ended yet: tried again
      journal_.refresh();
      if (journal_.trial(number).state != TrialState::kRunning) continue;
      watched_.emplace(number, Watched{.lock = std::move(lock), .child = std::nullopt, .code = {}});
    }
  }

  void look_after() {
    for (auto it = watched_.begin(); it != watched_.end();) {
      auto& [number, watched] = *it;
      if (!watched.code) watched.code = exit_code_of(watched, journal_.trial(number).process);
      // A rank may outlive its launcher for a moment: the trial has ended when nobody holds its files.
      if (watched.code && is_free(run_lock_path(directory_of(number)))) {
        settle(number, *watched.code);
        it = watched_.erase(it);
      } else {
        ++it;
      }
    }
  }

  static std::optional<int> exit_code_of(const Watched& watched, const ProcessIdentity& process) {
    if (watched.child) return watched.child->poll();
    if (liveness(process) == Liveness::kAlive) return std::nullopt;
    return kNoExitCode;
  }

  int64_t newest_step(int64_t number) const {
    const auto newest = newest_checkpoint(directory_of(number) + "/checkpoints");
    return newest ? std::stoll(newest->substr(newest->rfind('-') + 1)) : 0;  // .../step-00001200
  }

  // Decides from a trial's files, and then from its exit code, what it is now.
  void settle(int64_t number, int code) {
    TrialEntry entry = journal_.trial(number);
    const RunConfig& config = configs_.at(entry.digest);
    const bool lacks_weights = file_.sweep.keep_weights && newest_step(number) < entry.facts.steps;
    const auto outcome =
        outcome_of(read_trial_files(directory_of(number), entry.facts), entry.facts, !config.data.validation.empty());
    if (outcome && !lacks_weights) {
      finish(entry, *outcome);
      return;
    }
    const bool is_interruption = stopping_ || code >= 128 || code == kExitRequeue;
    if (newest_step(number) > entry.checkpoint)
      entry.fruitless = 0;
    else if (!stopping_)
      ++entry.fruitless;
    entry.reason = code == kNoExitCode ? "its manager ended" : fmt::format("ended with code {}", code);
    const int64_t most = is_interruption ? kMostInterruptions : file_.sweep.attempts;
    const bool is_final = is_hopeless(code) || entry.fruitless >= most;
    entry.state = is_final ? TrialState::kFailed : TrialState::kQueued;
    if (is_final) entry.reason += "; last said: " + last_line(directory_of(number) + "/output.log");
    journal_.record(entry);
    tell(entry, is_final ? "FAILED: " + entry.reason : entry.reason + ", queued again");
  }

  void finish(TrialEntry& entry, const TrialOutcome& outcome) {
    for (const char* name : {"/metrics.jsonl", "/metrics.csv", "/events.jsonl"}) {
      sync_file(directory_of(entry.number) + name);
    }
    entry.state = TrialState::kDone;
    entry.outcome = outcome;
    entry.reason.clear();
    journal_.record(entry);
    remove_weights(entry.number);
    tell(entry, fmt::format("done: loss {:.4f} in {}", outcome.loss, duration_text(outcome.seconds)));
  }

  void remove_weights(int64_t number) const {
    if (file_.sweep.keep_weights) return;
    std::filesystem::remove_all(directory_of(number) + "/checkpoints");
    std::filesystem::remove(directory_of(number) + "/" + kTokenizerName);  // as large as what is left, or larger
  }

  void start_queued() {
    const std::vector<int64_t> numbers = mine();
    for (const int64_t number : numbers) {
      if (asked_to_stop()) return;
      const bool is_queued = journal_.trial(number).state == TrialState::kQueued;
      if (is_queued && static_cast<int64_t>(watched_.size()) < jobs_) start(number);
    }
  }

  int64_t free_slot() const {
    for (int64_t slot = 0;; ++slot) {
      const bool is_taken = std::any_of(watched_.begin(), watched_.end(), [&](const auto& watched) {
        return journal_.trial(watched.first).slot == slot;
      });
      if (!is_taken) return slot;
    }
  }

  void start(int64_t number) {
    std::filesystem::create_directories(directory_of(number));
    FileLock lock(lock_of(number), /*wait=*/false);
    if (!lock.held()) return;  // another manager has it; tried again
    journal_.refresh();
    TrialEntry entry = journal_.trial(number);
    if (entry.state != TrialState::kQueued) return;
    RunConfig config = configs_.at(entry.digest);
    config.run.name = trial_name(number);
    config.checkpoint.at_end = file_.sweep.keep_weights;  // else it would be removed at once
    write_file_atomically(directory_of(number) + "/config.yaml", print_config(config));
    entry.slot = free_slot();
    ChildProcess child(launch_of(file_, directory_of(number), entry.slot));
    entry.state = TrialState::kRunning;
    entry.process = child.identity();
    entry.checkpoint = newest_step(number);
    ++entry.starts;
    journal_.record(entry);
    child.release();
    watched_.emplace(number, Watched{.lock = std::move(lock), .child = std::move(child), .code = {}});
    tell(entry, entry.checkpoint > 0 ? fmt::format("goes on from step {}", entry.checkpoint) : "starts");
  }

  // Trials that do not save in time go on from an older checkpoint.
  void stop_all() {
    out_ << "stopping on request\n" << std::flush;
    stopping_ = true;
    end_all(SIGUSR2, kTimeToSave);  // at a SIGTERM mpirun would kill the ranks before they have saved
    end_all(SIGKILL, kTimeToDie);
  }

  void end_all(int signal, std::chrono::seconds patience) {
    for (const auto& [number, watched] : watched_) signal_group(journal_.trial(number).process, signal);
    const auto end = std::chrono::steady_clock::now() + patience;
    for (; !watched_.empty() && std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(kPollInterval)) {
      look_after();
    }
  }

  SweepRunResult summary() {
    const int64_t left = count(TrialState::kQueued) + count(TrialState::kRunning);
    out_ << fmt::format("{} done, {} failed, {} skipped, {} left of {} trials\n", count(TrialState::kDone),
                        count(TrialState::kFailed), count(TrialState::kSkipped), left, mine().size());
    for (const int64_t number : mine()) {
      const TrialEntry& entry = journal_.trial(number);
      if (entry.state == TrialState::kFailed) out_ << name_of(entry) << ": " << entry.reason << "\n";
    }
    if (options_.only.empty()) out_ << "next: engram sweep report " << file_.directory() << "\n";
    out_ << std::flush;
    return {.failed = count(TrialState::kFailed), .left = left};
  }

  static constexpr int kNoExitCode = 255;  // not known: it was nobody's child any more

  const SweepFile& file_;
  const SweepRunOptions& options_;
  std::ostream& out_;
  int64_t jobs_;
  SweepJournal journal_;
  bool stopping_ = false;                     // what ends now was asked to
  std::map<std::string, RunConfig> configs_;  // by digest
  std::map<int64_t, Watched> watched_;        // by trial
};

}  // namespace

SweepRunResult run_trials(const SweepFile& file, const SweepPlan& plan, const SweepRunOptions& options,
                          std::ostream& out) {
  return Manager(file, plan, options, out).run();
}

}  // namespace engram
