#include "trainer/sweep_tables.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/data/temporary_directory.h"
#include "tests/trainer/sweep_testing.h"
#include "trainer/csv.h"

namespace engram {
namespace {

using test::write_file;

// A trial of every state; texts that need quotes and numbers without a short decimal form among them.
std::vector<ReportedTrial> all_states() {
  const SweepPlan plan = make_plan(test::small_sweep({"sweep.controls=[\"model.engram.heads=1; run.seed=7\"]"}));
  std::vector<ReportedTrial> trials;
  for (size_t i = 0; i < enum_names(TrialState{}).size(); ++i) {
    ReportedTrial& trial = trials.emplace_back();
    trial.sweep = "a \"small\" one";
    trial.entry.number = static_cast<int64_t>(i);
    trial.entry.facts = plan.trials.at(i).facts;
    trial.entry.state = static_cast<TrialState>(i);
    trial.entry.starts = 1;
    if (trial.entry.state != TrialState::kDone) continue;
    trial.entry.outcome = {
        .loss = 10.0 / 3, .train_loss = 0.1 + 0.2, .seconds = 1e-300, .tok_s = 1e22 / 7, .skipped_steps = 3};
  }
  trials[1].entry.facts.seed = (int64_t{1} << 62) + 1;
  trials[1].entry.facts.control = "two\nlines, \"quoted\"\r";
  return trials;
}

std::string read_error(const std::string& text) {
  const test::TemporaryDirectory directory;
  write_file(directory / "r.csv", text);
  try {
    read_results_csv(directory / "r.csv");
  } catch (const Error& error) {
    const std::string said = error.what();
    return said.starts_with(directory / "r.csv:") ? said.substr(said.find("r.csv")) : "no path in: " + said;
  }
  return "taken";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(ResultsCsv, IsReadAsItWasWritten) {
  const test::TemporaryDirectory directory;
  const std::vector<ReportedTrial> trials = all_states();
  const std::string text = results_csv(trials);
  write_file(directory / "r.csv", text);
  const std::vector<ReportedTrial> read = read_results_csv(directory / "r.csv");
  ASSERT_EQ(read.size(), trials.size());
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].entry.state, trials[i].entry.state);
    EXPECT_EQ(read[i].entry.facts.control, trials[i].entry.facts.control);
    EXPECT_EQ(read[i].entry.facts.seed, trials[i].entry.facts.seed);
    EXPECT_EQ(read[i].entry.facts.achieved, trials[i].entry.facts.achieved);
    EXPECT_EQ(read[i].source, directory / "r.csv");
  }
  EXPECT_EQ(read[2].entry.outcome.loss, 10.0 / 3);
  EXPECT_EQ(read[2].entry.outcome.seconds, 1e-300);
  EXPECT_EQ(read[2].entry.outcome.skipped_steps, 3);
  EXPECT_TRUE(std::isnan(read[1].entry.outcome.loss));
  EXPECT_EQ(read[1].line, 3);
  EXPECT_EQ(read[2].line, 5);  // the line before it holds the end of one
  EXPECT_EQ(results_csv(read), text);
}

TEST(ResultsCsv, MayComeFromASpreadsheet) {
  const test::TemporaryDirectory directory;
  std::vector<ReportedTrial> trials = all_states();
  trials[1].entry.facts.control.clear();
  std::string backwards;
  for (const CsvLine& line : csv_lines(results_csv(trials), "")) {
    for (size_t i = line.cells.size(); i-- > 0;) {
      const std::string cell = csv_line({line.cells[i] + ","});  // a comma more, for the quotes
      backwards += cell.substr(0, cell.size() - 3) + "\"" + (i > 0 ? "," : "\r\n");
    }
  }
  write_file(directory / "r.csv", backwards);
  EXPECT_EQ(results_csv(read_results_csv(directory / "r.csv")), results_csv(trials));
}

TEST(ResultsCsv, SaysWhereItIsDamaged) {
  std::vector<ReportedTrial> trials = all_states();
  trials.resize(1);
  const std::string text = results_csv(trials);
  ASSERT_EQ(read_error(text), "taken");
  const auto with = [&](const std::string& from, const std::string& to) { return replaced(text, from, to); };
  const std::pair<std::string, std::string> cases[] = {
      {with("trial,", ""), "r.csv:1: column trial: is missing; wanted"},
      {with("trial,ratio,", ""), "r.csv:1: column trial, ratio: is missing; wanted"},
      {with(",seed,", ",sead,"), "r.csv:1: column \"sead\": is not one of a results.csv; wanted trial, ratio"},
      {with(",seed,", ",seed,ratio,"), "r.csv:1: column ratio: is there twice"},
      {with(",64,16384,", ",64,1e3,"), "r.csv:2: column tokens: got \"1e3\", wanted a whole number, 0 or more"},
      {with(",64,16384,", ",64,-1,"), "r.csv:2: column tokens: got \"-1\""},
      {with(",64,16384,", ",64,99999999999999999999,"), "r.csv:2: column tokens: got \"99999999999999999999\""},
      {with(",64,16384,", ",64,,"), "r.csv:2: column tokens: got nothing, wanted a whole number"},
      {with("\n0,0,0,", "\n0,0,nan,"), "r.csv:2: column achieved: got \"nan\", wanted a number, 0 or more, or nothing"},
      {with("\n0,0,0,", "\n0,0,0.5x,"), "r.csv:2: column achieved: got \"0.5x\""},
      {with("\n0,0,0,", "\n0,,0,"), "r.csv:2: column ratio: got nothing, wanted a number, as its kind is not memory"},
      {with(",16384,3,", ",,3,"), "r.csv:2: column budget: got nothing, wanted a number"},
      {with(",queued,", ",waiting,"),
       "r.csv:2: column state: got \"waiting\", wanted one of queued, running, done, failed, skipped"},
      {with(",allocation,", ",allotment,"), "r.csv:2: column kind: got \"allotment\", wanted one of allocation, "},
      {with("\"a \"\"small\"\" one\"", ""), "r.csv:2: column sweep: got nothing, wanted the name of a sweep"},
      {with("\n0,0,0,", "\n0,0,0,0,"), "r.csv:2: got 26 columns, wanted 25, as in line 1"},
      {with("\n0,0,0,", "\n\n0,0,0,"), "r.csv:2: got 1 columns, wanted 25"},
      {text.substr(0, text.find('\n') + 1), "r.csv: has no trial"},
      {"", "r.csv: has no trial"},
      {text.substr(0, text.size() - 1), "r.csv:2: cell 25: got the end of the file, wanted a comma or the end of"},
      {text.substr(0, text.size() - 3), "r.csv:2: cell 25: got the end of the file, wanted the quote that ends a cell"},
      {with("one\"", "one\"s"), "r.csv:2: cell 25: got \"s\", wanted a comma or the end of the line"},
      {with(",allocation,", ",al\"location,"), "r.csv:2: cell 22: got \"\"\", wanted a comma"},
  };
  for (const auto& [damaged, wanted] : cases) {
    const std::string said = read_error(damaged);
    EXPECT_TRUE(said.starts_with(wanted)) << said << "\n wanted: " << wanted;
  }
}

TEST(ResultsCsv, MustBeThere) { EXPECT_THROW(read_results_csv("/nowhere/results.csv"), Error); }

}  // namespace
}  // namespace engram
