#include "trainer/run_start.h"

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "data/atomic_file.h"
#include "trainer/checkpoint_tensors.h"
#include "trainer/config.h"
#include "trainer/import.h"
#include "trainer/metrics.h"
#include "trainer/progress.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

std::string checkpoints_of(const Replica& r) { return r.config.run.directory() + "/checkpoints"; }

// Those of the run, newest first.
std::vector<std::string> found_checkpoints(Replica& r, bool resume) {
  std::vector<std::string> found = list_checkpoints(r.world, checkpoints_of(r));
  if (!found.empty() && !resume) {
    throw ConfigError("checkpoint.resume: is false, but " + found.front() +
                      " is there; give the run another name (run.name), or remove " + r.config.run.directory());
  }
  return found;
}

void tell_damaged(const ResumedFrom& resumed) {
  for (const std::string& damage : resumed.damaged) std::cerr << "passed over: " << damage << std::endl;
}

// Where the disk is too small for what the run keeps.
void check_room(Replica& r, int64_t step, int64_t num_there) {
  int64_t num_bytes = num_owned_bytes(r);
  all_reduce_sum<int64_t>(r.world, std::span(&num_bytes, 1));
  together(r.world, [&] {
    if (r.world.rank() != 0) return;
    const int64_t needed = bytes_of_saves(r.config, step, num_there, num_bytes);
    try {
      check_free_space(existing_directory(r.config.run.directory()), needed);
    } catch (const IoError& error) {
      throw IoError(std::string(error.what()) + "; for the checkpoints to come: wanted fewer (checkpoint.keep, " +
                    "checkpoint.keep_every), or another run.dir");
    }
    std::cout << "checkpoints to come take up to " << scaled_text(static_cast<double>(needed)) << "B, which are free"
              << std::endl;
  });
}

}  // namespace

int64_t bytes_of_saves(const RunConfig& config, int64_t step, int64_t num_there, int64_t checkpoint_bytes) {
  constexpr double kMargin = 1.1;  // as a save wants it
  const CheckpointConfig& c = config.checkpoint;
  const auto falls_on = [&](int64_t interval) {
    return interval > 0 ? config.train.steps / interval - step / interval : 0;
  };
  const bool ends_apart = c.at_end && step < config.train.steps && (c.every == 0 || config.train.steps % c.every != 0);
  const int64_t num_saves = falls_on(c.every) + (ends_apart ? 1 : 0);
  const int64_t for_good = c.every > 0 ? falls_on(c.keep_every) : 0;
  const int64_t at_once = std::max<int64_t>(c.keep + 1 - num_there, 1) + for_good;
  return static_cast<int64_t>(kMargin * static_cast<double>(checkpoint_bytes)) * std::min(num_saves, at_once);
}

ResumedFrom start_run(Replica& r, const RunIdentity& identity, bool resume) {
  const bool is_first = r.world.rank() == 0;
  const std::vector<std::string> found = found_checkpoints(r, resume);
  if (!found.empty()) {
    ResumedFrom resumed = resume_from_newest(r, identity, found);
    if (is_first) tell_damaged(resumed);
    if (is_first) std::cout << "resuming from " << resumed.checkpoint << std::endl;
    return resumed;
  }
  const std::string& source = r.config.run.init_from;
  if (source.empty()) return {};
  load_initial_weights(r, identity, source);
  if (is_first) std::cout << "starting from the weights of " << source << std::endl;
  return {};
}

void check_start(Replica& r, const RunIdentity& identity) {
  const bool is_first = r.world.rank() == 0;
  const std::string& directory = r.config.run.directory();
  together(r.world, [&] {  // a lock for an instant, where there is a directory
    if (is_first && fs::exists(run_lock_path(directory))) lock_run(directory);
  });
  const std::vector<std::string> found = found_checkpoints(r, r.config.checkpoint.resume);
  const std::string& source = r.config.run.init_from;
  int64_t step = 0;
  std::string plan = "begin at step 0";
  if (!found.empty()) {
    const ResumedFrom resumed = check_newest(r, identity, found);
    if (is_first) tell_damaged(resumed);
    step = resumed.step;
    plan = "resume from " + resumed.checkpoint;
  } else if (!source.empty()) {
    check_initial_weights(r, identity, source);
    plan = "start from the weights of " + source;
  }
  if (is_first) std::cout << "dry run: a start would " << plan << std::endl;
  check_room(r, step, std::ssize(found));
}

}  // namespace engram
