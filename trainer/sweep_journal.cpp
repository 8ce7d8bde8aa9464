#include "trainer/sweep_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/file_lock.h"
#include "data/json_depth.h"
#include "data/json_integer.h"
#include "trainer/config.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFormat = 1;

// A NaN is dumped as null.
struct ToJson {
  Json& object;
  template <class T>
  void operator()(const char* name, const T& value) {
    object[name] = value;
  }
};

struct FromJson {
  const Json& object;
  void operator()(const char* name, double& value) {
    if (object.contains(name)) value = object[name].is_null() ? kNotMeasured : object[name].get<double>();
  }
  void operator()(const char* name, int64_t& value) {
    if (object.contains(name)) value = json_integer(object[name], name);
  }
  void operator()(const char* name, std::string& value) {
    if (object.contains(name)) value = object[name];
  }
};

// Fields of a change of state.
template <class Entry, class Visitor>
void visit_state(Entry& e, Visitor&& field) {
  field("pid", e.process.pid);
  field("start_ticks", e.process.start_ticks);
  field("boot_id", e.process.boot_id);
  field("host", e.process.host);
  field("slot", e.slot);
  field("starts", e.starts);
  field("fruitless", e.fruitless);
  field("checkpoint", e.checkpoint);
  field("reason", e.reason);
}

std::string dumped(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::string trial_line(int64_t number, const PlannedTrial& trial) {
  Json facts;
  visit_trial_facts(trial.facts, ToJson{facts});
  return dumped({{"record", "trial"}, {"trial", number}, {"digest", trial.digest}, {"facts", facts}});
}

std::string state_line(const TrialEntry& entry) {
  Json line{{"record", "state"}, {"trial", entry.number}, {"state", enum_name(entry.state)}};
  visit_state(entry, ToJson{line});
  if (entry.state == TrialState::kDone) visit_outcome(entry.outcome, ToJson{line});
  return dumped(line);
}

TrialState state_named(const std::string& name) {
  const auto found = enum_named<TrialState>(name);
  ENGRAM_CHECK(found, "state \"", name, "\"; wanted one of those this program writes");
  return *found;
}

// Applies one line. Throws Error or a JSON exception for a line that no program of this format wrote.
void apply_line(const Json& line, std::vector<TrialEntry>& trials) {
  const std::string record = line.at("record");
  if (record == "sweep") {
    ENGRAM_CHECK(line.at("format") == kFormat, "format ", line.at("format").dump(), "; wanted ", kFormat);
    return;
  }
  const int64_t number = json_integer(line.at("trial"), "trial");
  if (record == "trial") {
    ENGRAM_CHECK(number == static_cast<int64_t>(trials.size()), "trial ", number, " after ", trials.size(), " trials");
    TrialEntry& entry = trials.emplace_back();
    entry.number = number;
    entry.digest = line.at("digest");
    visit_trial_facts(entry.facts, FromJson{line.at("facts")});
    return;
  }
  ENGRAM_CHECK(record == "state", "record \"", record, "\"; wanted sweep, trial or state");
  TrialEntry& entry = trials.at(static_cast<size_t>(number));
  entry.state = state_named(line.at("state"));
  visit_state(entry, FromJson{line});
  visit_outcome(entry.outcome, FromJson{line});
}

// Up to three of them, and how many more.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 3); ++i) text += (i > 0 ? "; " : "") + names[i];
  return names.size() > 3 ? fmt::format("{}; and {} more", text, names.size() - 3) : text;
}

struct Differences {
  std::vector<std::string> added, gone;
};

Differences differences_of(const std::vector<TrialEntry>& known, const SweepPlan& plan) {
  const auto name = [](const TrialFacts& facts) { return fmt::format("{}, seed {}", point_label(facts), facts.seed); };
  Differences differences;
  for (const PlannedTrial& trial : plan.trials) {
    const bool is_known =
        std::any_of(known.begin(), known.end(), [&](const TrialEntry& entry) { return entry.digest == trial.digest; });
    if (!is_known) differences.added.push_back(name(trial.facts));
  }
  for (const TrialEntry& entry : known) {
    const bool is_planned = std::any_of(plan.trials.begin(), plan.trials.end(),
                                        [&](const PlannedTrial& trial) { return entry.digest == trial.digest; });
    if (!is_planned) differences.gone.push_back(fmt::format("trial {} ({})", entry.number, name(entry.facts)));
  }
  return differences;
}

}  // namespace

std::string SweepJournal::path() const { return directory_ + "/journal.jsonl"; }

bool SweepJournal::exists(const std::string& directory) {
  return std::filesystem::exists(directory + "/journal.jsonl");
}

void SweepJournal::begin(const std::string& directory, const SweepPlan& plan) {
  std::string text = dumped({{"record", "sweep"}, {"format", kFormat}});
  for (size_t i = 0; i < plan.trials.size(); ++i) text += trial_line(static_cast<int64_t>(i), plan.trials[i]);
  std::filesystem::create_directories(directory);
  write_file_atomically(directory + "/journal.jsonl", text);
}

SweepJournal::SweepJournal(std::string directory) : directory_(std::move(directory)) { refresh(); }

void SweepJournal::refresh() {
  ENGRAM_CHECK(exists(directory_), path(), ": is not there; wanted the directory of a sweep that `sweep run` began");
  read(contents_of_file(path()));
}

void SweepJournal::read(const std::string& text) {
  std::vector<TrialEntry> trials;
  int64_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // torn: its writer was killed, and the change did not happen
    ++line_number;
    try {
      apply_line(Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                             text.begin() + static_cast<std::ptrdiff_t>(end), JsonDepth()),
                 trials);
    } catch (const std::exception& error) {
      ENGRAM_FAIL(path(), ":", line_number, ": is damaged: ", error.what());
    }
    begin = end + 1;
  }
  trials_ = std::move(trials);
}

void SweepJournal::append(const std::string& lines) const {
  const FileLock turn(directory_ + "/journal.lock", /*wait=*/true);
  const int file = ::open(path().c_str(), O_RDWR | O_CLOEXEC);
  ENGRAM_CHECK_AS(IoError, file >= 0, path(), ": cannot be opened for writing: ", std::strerror(errno));
  off_t end = ::lseek(file, 0, SEEK_END);
  char last = '\n';
  ssize_t seen = 1;
  while (end > 0 && (seen = ::pread(file, &last, 1, end - 1)) == 1 && last != '\n') --end;  // a killed writer's line
  bool written = seen == 1 && ::ftruncate(file, end) == 0;
  for (size_t done = 0; written && done < lines.size();) {
    const ssize_t count = ::pwrite(file, lines.data() + done, lines.size() - done, end + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    written = count > 0;
    done += written ? static_cast<size_t>(count) : 0;
  }
  written = written && ::fsync(file) == 0;
  const int error = errno;
  ::close(file);
  ENGRAM_CHECK_AS(IoError, written, path(), ": cannot be written: ", std::strerror(error), "; is the disk full?");
}

void SweepJournal::record(const TrialEntry& entry) {
  append(state_line(entry));
  trials_.at(static_cast<size_t>(entry.number)) = entry;
}

int64_t SweepJournal::add(const SweepPlan& plan) {
  const Differences differences = differences_of(trials_, plan);
  if (!differences.gone.empty()) {
    throw ConfigError(
        fmt::format("{}: the plan no longer has {}; wanted a plan that only adds trials, or another "
                    "run.name for a new sweep",
                    path(), listed(differences.gone)));
  }
  std::string lines;
  auto number = static_cast<int64_t>(trials_.size());
  for (const PlannedTrial& trial : plan.trials) {
    const bool is_known = std::any_of(trials_.begin(), trials_.end(),
                                      [&](const TrialEntry& entry) { return entry.digest == trial.digest; });
    if (!is_known) lines += trial_line(number++, trial);
  }
  if (!lines.empty()) append(lines);
  refresh();
  return static_cast<int64_t>(differences.added.size());
}

void SweepJournal::check_same(const SweepPlan& plan) const {
  const Differences differences = differences_of(trials_, plan);
  if (differences.added.empty() && differences.gone.empty()) return;
  std::string text = fmt::format("{}: is of another plan than the sweep file:", path());
  if (!differences.added.empty()) text += fmt::format("\n  not in the journal: {}", listed(differences.added));
  if (!differences.gone.empty()) text += fmt::format("\n  not in the file: {}", listed(differences.gone));
  throw ConfigError(text + (differences.gone.empty() ? "\n`engram sweep add` appends what is new"
                                                     : "\nundo the change, or begin anew with another run.name"));
}

}  // namespace engram
