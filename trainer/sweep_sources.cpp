#include "trainer/sweep_sources.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <utility>

#include "trainer/sweep_tables.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

std::string place_of(const ReportedTrial& trial) {
  return trial.line > 0 ? fmt::format("{}:{}", trial.source, trial.line)
                        : trial_directory(trial.source, trial.entry.number);
}

std::string name_of(const ReportedTrial& trial) {
  const TrialFacts& facts = trial.entry.facts;
  return fmt::format("{}, {}, budget {}, seed {}", trial.sweep, point_label(facts), facts.budget, facts.seed);
}

// Equal for two entries of one trial, and for no others.
std::vector<std::string> key_of(const ReportedTrial& trial) {
  const TrialFacts& f = trial.entry.facts;
  return {trial.sweep, f.control, fmt::format("{} {} {} {} {}", f.kind, f.ratio, f.table_rows, f.budget, f.seed)};
}

std::vector<std::pair<std::string, std::string>> fact_texts(const TrialFacts& facts) {
  std::vector<std::pair<std::string, std::string>> texts;
  visit_trial_facts(facts,
                    [&](const char* name, const auto& value) { texts.emplace_back(name, fmt::to_string(value)); });
  return texts;
}

void check_same_facts(const ReportedTrial& a, const ReportedTrial& b) {
  const auto texts = fact_texts(a.entry.facts), others = fact_texts(b.entry.facts);
  for (size_t i = 0; i < texts.size(); ++i) {
    ENGRAM_CHECK(texts[i].second == others[i].second, name_of(a), ": ", texts[i].first, " is ", texts[i].second, " in ",
                 place_of(a), ", ", others[i].second, " in ", place_of(b),
                 "; wanted trials of one sweep file, as the sweep has one name");
  }
}

// Trials, each once.
class Collection {
 public:
  void add(ReportedTrial trial) {
    const auto [known, is_new] = positions_.try_emplace(key_of(trial), trials_.size());
    if (is_new) {
      trials_.push_back(std::move(trial));
      return;
    }
    ReportedTrial& first = trials_[known->second];
    check_same_facts(first, trial);
    ENGRAM_CHECK(first.source != trial.source, name_of(trial), ": is in ", place_of(first), " and once more in ",
                 place_of(trial), "; wanted it once in one source");
    ENGRAM_CHECK(!is_done(first) || !is_done(trial), name_of(trial), ": is done in ", place_of(first), " and in ",
                 place_of(trial), "; wanted it done in one of them");
    if (is_done(trial)) first = std::move(trial);
  }

  std::vector<ReportedTrial> take() { return std::move(trials_); }

 private:
  std::vector<ReportedTrial> trials_;
  std::map<std::vector<std::string>, size_t> positions_;
};

std::vector<ReportedTrial> read_sweep(const std::string& directory) {
  const SweepJournal journal(directory);
  const std::string name = fs::path(directory + "/").parent_path().filename().string();
  std::vector<ReportedTrial> trials;
  for (const TrialEntry& entry : journal.trials()) {
    const TrialFiles files = read_trial_files(trial_directory(directory, entry.number), entry.facts);
    trials.push_back({.sweep = name, .entry = entry, .validations = files.validations, .source = directory, .line = 0});
  }
  return trials;
}

}  // namespace

std::vector<ReportedTrial> collect_trials(const std::vector<std::string>& sources) {
  Collection collection;
  for (const std::string& source : sources) {
    ENGRAM_CHECK(fs::exists(source), source, ": is not there; wanted the directory of a sweep, or a results.csv");
    for (ReportedTrial& trial : fs::is_directory(source) ? read_sweep(source) : read_results_csv(source)) {
      collection.add(std::move(trial));
    }
  }
  return collection.take();
}

}  // namespace engram
