#include "trainer/sweep_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/hdf5_file.h"
#include "tests/data/temporary_directory.h"
#include "tests/trainer/sweep_testing.h"
#include "trainer/sweep_tables.h"

namespace engram {
namespace {

using test::read_file;
using test::write_file;

// Loss without noise: a parabola over the ratio, and 0.1 more for each 4096 tokens fewer than 16384; kind memory falls
// by 0.1 per tenfold table, its controls by 0.12.
double exact_loss(const TrialFacts& facts) {
  const double fewer_tokens = static_cast<double>(16384 - facts.tokens) / 4096;
  if (facts.kind != "memory") return 3 + (facts.ratio - 0.6) * (facts.ratio - 0.6) + 0.1 * fewer_tokens;
  if (facts.table_parameters == 0) return 5;
  return 4 - (facts.control.empty() ? 0.1 : 0.12) * std::log10(facts.table_parameters);
}

// A sweep whose trials are done, with files as training leaves them: loss falls by 1 per quarter from 4 above the end.
class Report : public ::testing::Test {
 protected:
  Report() { begin(sweep(), {"sweep.controls=[no_conv, \"model.engram.heads=1; model.engram.orders=[2, 3]\"]"}); }
  void begin(const std::string& sweep, const std::vector<std::string>& overrides) const {
    SweepJournal::begin(sweep, make_plan(test::small_sweep(overrides)));
    SweepJournal journal(sweep);
    for (TrialEntry entry : journal.trials()) {
      entry.state = TrialState::kDone;
      const double loss = exact_loss(entry.facts) + 0.001 * static_cast<double>(entry.number % 3);
      const double rate = entry.facts.ratio == 1 ? 200 : 100;  // tokens per second: the pure MoE is twice as fast
      entry.outcome = {.loss = loss,
                       .train_loss = loss,
                       .seconds = static_cast<double>(entry.facts.tokens) / rate,
                       .tok_s = rate,
                       .skipped_steps = 0};
      write_trial(trial_directory(sweep, entry.number), entry, loss, rate);
      journal.record(entry);
    }
  }
  static void write_trial(const std::string& directory, const TrialEntry& entry, double loss, double rate) {
    std::filesystem::create_directories(directory);
    std::string metrics, events;
    for (int64_t step = 1; step <= entry.facts.steps; ++step) {
      metrics += nlohmann::json{{"step", step}, {"loss", loss}, {"tok_s", rate}, {"skipped", 0}}.dump() + "\n";
      if (step % (entry.facts.steps / 4) != 0) continue;
      const double left = 4 - 4.0 * static_cast<double>(step) / static_cast<double>(entry.facts.steps);
      events += nlohmann::json{{"step", step}, {"event", "eval"}, {"loss", loss + left}}.dump() + "\n";
    }
    write_file(directory + "/metrics.jsonl", metrics);
    write_file(directory + "/events.jsonl", events);
  }
  std::string sweep() const { return directory_ / "small"; }
  // The results.csv that a report of these sources writes.
  std::string csv_of(const std::vector<std::string>& sources, const std::string& name = "results.csv") const {
    write_file(directory_ / name, results_csv(collect_report(sources).trials));
    return directory_ / name;
  }
  static void set_state(const std::string& sweep, int64_t number, TrialState state) {
    SweepJournal journal(sweep);
    TrialEntry entry = journal.trial(number);
    entry.state = state;
    journal.record(entry);
  }
  static std::string refused(const std::vector<std::string>& sources) {
    try {
      collect_report(sources);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Report, GroupsTrialsByPoint) {
  const SweepReport report = collect_report({sweep()});
  ASSERT_EQ(report.budgets.size(), 1u);
  const ReportedBudget& budget = report.budgets[0];
  ASSERT_EQ(budget.curve.size(), 4u);
  EXPECT_EQ(budget.controls.size(), 2u);
  EXPECT_EQ(budget.num_missing, 0);
  for (const ReportedPoint& point : budget.curve) EXPECT_EQ(point.loss.seeds, (std::vector<int64_t>{3, 4}));
  ASSERT_NE(pure_point(budget), nullptr);
  EXPECT_EQ(pure_point(budget)->loss.x, 1);
  // At half of its time a trial is at half of its tokens: 2 above its end.
  EXPECT_NEAR(budget.curve[1].equal_time.mean(), budget.curve[1].loss.mean() + 2, 1e-9);
  EXPECT_NEAR(budget.curve[3].equal_time.mean(), budget.curve[3].loss.mean(), 1e-9);
  // The last quarter falls by 1; the pure MoE's final loss lies 0.15 above, about a sixth of that quarter before the
  // end.
  const double lead = budget.curve[3].loss.mean() - budget.curve[1].loss.mean();
  EXPECT_NEAR(budget.curve[1].token_share.mean(), 1 - lead / 4, 1e-3);
}

TEST_F(Report, ControlsThatAreASweepOfTheirOwnArePairedWithTheCurve) {
  const std::string controls = directory_ / "controls", longer = directory_ / "longer";
  begin(controls,
        {"sweep.ratios=[]", "sweep.seeds=[4]", "sweep.controls=[no_conv, wide_shared]", "sweep.control_ratio=0.75"});
  begin(longer, {"sweep.ratios=[]", "sweep.controls=[no_conv]", "sweep.tokens=[32768]"});
  const SweepReport report = collect_report({longer, controls, sweep()});
  ASSERT_EQ(report.budgets.size(), 3u);
  const ReportedBudget &alone = report.budgets[0], &paired = report.budgets[1], &curve = report.budgets[2];
  EXPECT_EQ(&reference_of(report, curve), &curve);
  EXPECT_EQ(&reference_of(report, paired), &curve);
  EXPECT_EQ(unchanged_point(report, paired, paired.controls[0]), &curve.curve[2]);
  EXPECT_EQ(unchanged_point(report, paired, paired.controls[1]), pure_point(curve));  // wide_shared is at ratio 1
  EXPECT_EQ(paired.controls[0].equal_time.seeds, std::vector<int64_t>{4});
  EXPECT_EQ(&reference_of(report, alone), &alone);  // no other budget has as many tokens
  EXPECT_EQ(unchanged_point(report, alone, alone.controls[0]), nullptr);
  EXPECT_NE(report_html(report, {}).find("Compared with small, of the same budget and tokens."), std::string::npos);
  const auto analysis = nlohmann::json::parse(analysis_json(report));
  const auto& control = analysis.at("budgets").at(1).at("controls").at(0);
  const double difference = paired.controls[0].loss.losses[0] - *curve.curve[2].loss.at(4);
  EXPECT_EQ(control.at("to_unchanged").at("pairs"), std::vector<double>{difference});
}

TEST_F(Report, RunsThatEndedTellTheTokensToThePureLoss) {
  EXPECT_TRUE(collect_report({sweep()}).budgets[0].curve[1].decayed_share.losses.empty());
  const std::string shorter = directory_ / "shorter";
  begin(shorter, {"sweep.ratios=[0.5]", "sweep.tokens=[8192, 12288]"});
  const SweepReport report = collect_report({shorter, sweep()});
  const ReportedBudget& budget = report.budgets[2];
  // 3.21, 3.11 and 3.01 at 8192, 12288 and 16384 tokens; the pure MoE has 3.16.
  EXPECT_EQ(budget.curve[1].decayed_share.seeds, (std::vector<int64_t>{3, 4}));
  EXPECT_NEAR(budget.curve[1].decayed_share.mean(), 10240.0 / 16384, 0.01);
  EXPECT_TRUE(budget.curve[2].decayed_share.losses.empty());
}

TEST_F(Report, WritesEveryTrialToBothTables) {
  const SweepReport report = collect_report({sweep()});
  const std::string csv = results_csv(report.trials);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 12);
  EXPECT_TRUE(csv.starts_with("trial,ratio,achieved,"));
  EXPECT_NE(csv.find("\"model.engram.heads=1; model.engram.orders=[2, 3]\""), std::string::npos);
  const std::string path = directory_ / "results.h5";
  write_results_hdf5(report.trials, path);
  const Hdf5Reader reader(path);
  std::vector<double> losses(12);
  reader.read_dataset("loss", std::span<double>(losses));
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(losses[i], report.trials[i].entry.outcome.loss);
  EXPECT_EQ(nlohmann::json::parse(reader.string_attribute("", "control")).at(4), "no_conv");
}

TEST_F(Report, AnalysesAndShowsTheCurve) {
  const auto analysis = nlohmann::json::parse(analysis_json(collect_report({sweep()})));
  const auto& budget = analysis.at("budgets").at(0);
  EXPECT_NEAR(budget.at("all").at("minimum"), 0.6, 0.01);
  EXPECT_TRUE(budget.at("shape").at("is_u"));
  EXPECT_EQ(budget.at("shape").at("best"), 0.5);
  const std::string page = report_html(collect_report({sweep()}), {"<svg></svg>"});
  EXPECT_NE(page.find("<b>confirmed</b>"), std::string::npos);
  EXPECT_NE(page.find("published, 6e20 FLOPs, without ratio 1"), std::string::npos);
  EXPECT_NE(page.find("<td>published</td><td>-</td><td>0.820</td>"), std::string::npos);
  EXPECT_NE(page.find("<figure><svg></svg></figure>"), std::string::npos);
}

TEST_F(Report, FitsALineOverTheTablesSizeForTheCurveAndEachControl) {
  const std::string memory = directory_ / "memory";
  begin(memory, {"sweep.kind=memory", "sweep.table_rows=[10000, 100, 1000]", "sweep.controls=[over_encoding]"});
  const SweepReport report = collect_report({memory, sweep()});
  const auto analysis = nlohmann::json::parse(analysis_json(report));
  const auto& budget = analysis.at("budgets").at(0);
  EXPECT_EQ(budget.at("reference"), "small");  // its ratio 1 is the backbone without tables
  ASSERT_EQ(budget.at("log_linear").size(), 2u);
  for (const auto& [index, control, slope] : {std::tuple{0, "", -0.1}, {1, "over_encoding", -0.12}}) {
    const auto& fit = budget.at("log_linear").at(index);
    EXPECT_EQ(fit.at("control"), control);
    EXPECT_NEAR(fit.at("slope"), slope, 0.002);
    EXPECT_LE(fit.at("slope_by_seeds").at(0), fit.at("slope"));
    EXPECT_GE(fit.at("slope_by_seeds").at(1), fit.at("slope"));
  }
  const MemoryLine line = memory_lines(report.budgets[0]).at(1);
  EXPECT_LT(line.arms[0].x, line.arms[1].x);
  EXPECT_EQ(unchanged_point(report, report.budgets[0], report.budgets[0].controls[2]), &report.budgets[0].curve[2]);
  EXPECT_NE(report_html(report, {}).find("published, OverEncoding"), std::string::npos);
}

TEST_F(Report, CountsWhatIsMissing) {
  SweepJournal journal(sweep());
  TrialEntry entry = journal.trial(3);
  entry.state = TrialState::kFailed;
  entry.reason = "<b>out of memory</b> & more";
  journal.record(entry);
  const SweepReport report = collect_report({sweep()});
  EXPECT_EQ(report.budgets[0].num_missing, 1);
  EXPECT_EQ(report.budgets[0].curve[3].loss.losses.size(), 1u);
  const std::string page = report_html(report, {});
  EXPECT_NE(page.find("&lt;b&gt;out of memory&lt;/b&gt; &amp; more"), std::string::npos);
  EXPECT_NE(page.find("1 trials are not done"), std::string::npos);
}

// What a report says that takes no validation curve.
std::string without_curves(const SweepReport& report) {
  const auto is_curve = [](int, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    return event != nlohmann::json::parse_event_t::key || (parsed != "equal_time" && parsed != "token_share");
  };
  return nlohmann::json::parse(analysis_json(report), is_curve).dump(1);
}

TEST_F(Report, OfAResultsCsvIsThatOfItsSweeps) {
  const std::string memory = directory_ / "memory", shorter = directory_ / "shorter", part = directory_ / "part";
  begin(memory, {"sweep.kind=memory", "sweep.table_rows=[10000, 100]", "sweep.controls=[over_encoding]"});
  begin(shorter, {"sweep.ratios=[0.5]", "sweep.tokens=[8192, 12288]"});
  begin(part, {"sweep.ratios=[]", "sweep.controls=[no_conv, wide_shared]", "sweep.control_ratio=0.75"});
  set_state(part, 1, TrialState::kFailed);
  const std::vector<std::string> directories{memory, sweep(), shorter, part};
  const SweepReport all = collect_report(directories), read = collect_report({csv_of(directories)});
  EXPECT_EQ(without_curves(read), without_curves(all));
  EXPECT_EQ(results_csv(read.trials), results_csv(all.trials));
  const SweepReport both = collect_report({part, memory, csv_of({sweep(), shorter})});
  EXPECT_EQ(without_curves(both), without_curves(collect_report({part, memory, sweep(), shorter})));
  // The curves of the directory are read at the time of ratio 1, which the table has.
  EXPECT_EQ(both.budgets[0].controls[0].equal_time.seeds, (std::vector<int64_t>{3, 4}));
  EXPECT_TRUE(both.budgets[2].curve[1].equal_time.losses.empty());
  EXPECT_EQ(read.budgets[1].curve[1].decayed_share.losses, all.budgets[1].curve[1].decayed_share.losses);
  EXPECT_FALSE(read.budgets[1].curve[1].decayed_share.losses.empty());
  const std::string note = "no validation curves: 4 trials of shorter, 12 trials of small.";
  EXPECT_NE(report_html(both, {}).find(note), std::string::npos);
  EXPECT_EQ(report_html(all, {}).find("no validation curves"), std::string::npos);
}

TEST_F(Report, ADirectoryCompletesAResultsCsv) {
  const std::string whole = csv_of({sweep()}, "whole.csv");
  for (const int64_t number : {2, 5, 6}) set_state(sweep(), number, TrialState::kQueued);
  const std::string nine = csv_of({sweep()});
  const auto change = [&](int64_t number) {
    const bool was_left = number == 2 || number == 5 || number == 6;
    set_state(sweep(), number,
              was_left          ? TrialState::kDone
              : number % 2 == 0 ? TrialState::kSkipped
                                : TrialState::kQueued);
  };
  for (int64_t number = 0; number < 12; ++number) change(number);
  for (const auto& sources : {std::vector<std::string>{nine, sweep()}, {sweep(), nine}}) {
    const SweepReport report = collect_report(sources);
    EXPECT_EQ(results_csv(report.trials), read_file(whole));
    EXPECT_EQ(report.budgets.at(0).num_missing, 0);
  }
  EXPECT_EQ(collect_report({nine}).budgets.at(0).num_missing, 3);
}

TEST_F(Report, OfOneTrialTwiceIsRefused) {
  const std::string csv = csv_of({sweep()});
  const std::string twice = refused({csv, sweep()});
  EXPECT_NE(twice.find("small, ratio 0, budget 16384, seed 3: is done in " + csv + ":2 and in " + sweep() +
                       "/trials/trial-0000; wanted it done in one of them"),
            std::string::npos)
      << twice;
  EXPECT_NE(refused({csv, csv}).find(csv + ":2 and once more in " + csv + ":2; wanted it once"), std::string::npos);
  const std::string text = read_file(csv);
  const size_t second = text.find("\n0,") + 1;
  write_file(directory_ / "double.csv", text + text.substr(second, text.find('\n', second) + 1 - second));
  EXPECT_NE(refused({directory_ / "double.csv"}).find("double.csv:2 and once more in "), std::string::npos);
  const std::string other = directory_ / "other/small";
  begin(other, {"sweep.tokens=[16384]", "model.moe.expert_hidden=32"});
  const std::string differs = refused({csv, other});
  EXPECT_NE(differs.find("seed 3: rows_per_head is "), std::string::npos) << differs;
  EXPECT_NE(differs.find("wanted trials of one sweep file"), std::string::npos) << differs;
  EXPECT_NE(refused({"/nowhere"}).find("/nowhere: is not there; wanted the directory of a sweep, or a results.csv"),
            std::string::npos);
}

TEST(ReportFiles, WantATrialThatIsDone) {
  test::TemporaryDirectory directory;
  EXPECT_THROW(write_report({directory.path()}, directory / "report"), Error);
  SweepJournal::begin(directory / "small", make_plan(test::small_sweep()));
  EXPECT_THROW(write_report({directory / "small"}, directory / "report"), Error);
  EXPECT_FALSE(std::filesystem::exists(directory / "report"));
}

}  // namespace
}  // namespace engram
