#include "trainer/sweep_rates.h"

#include <gtest/gtest.h>

#include "tests/data/temporary_directory.h"
#include "tests/trainer/sweep_testing.h"
#include "trainer/sweep_tables.h"

namespace engram {
namespace {

class Rates : public ::testing::Test {
 protected:
  // Trials of a sweep of that name, in which ratio 0.5 has 500 and 700 tokens per second, ratio 1 has 1200.
  static std::vector<ReportedTrial> measured(const std::string& sweep, const std::vector<std::string>& overrides = {}) {
    std::vector<ReportedTrial> trials;
    for (const PlannedTrial& planned : make_plan(test::small_sweep(overrides)).trials) {
      ReportedTrial& trial = trials.emplace_back();
      trial.sweep = sweep;
      trial.entry.facts = planned.facts;
      const bool is_measured = planned.facts.ratio == 0.5 || planned.facts.ratio == 1;
      trial.entry.state = is_measured ? TrialState::kDone : TrialState::kQueued;
      const bool is_control = !planned.facts.control.empty();
      const double slow = planned.facts.seed == 3 ? 500 : 700;
      trial.entry.outcome.tok_s = is_control ? 9 : planned.facts.ratio == 1 ? 1200 : slow;
    }
    return trials;
  }
  // Rates that are those of all of these sweeps.
  std::string results(const std::vector<std::vector<ReportedTrial>>& sweeps) const {
    std::vector<ReportedTrial> all;
    for (const auto& trials : sweeps) all.insert(all.end(), trials.begin(), trials.end());
    test::write_file(directory_ / "results.csv", results_csv(all));
    return "sweep.rates=" + (directory_ / "results.csv");
  }
  static std::vector<int64_t> tokens(const std::string& rates) {
    std::vector<int64_t> tokens;
    for (const SweepPoint& point : make_plan(test::small_sweep({"sweep.kind=time", rates})).points) {
      tokens.push_back(point.facts.tokens);
    }
    return tokens;
  }
  static std::string refused(const std::string& rates) { return test::refused_plan({"sweep.kind=time", rates}); }

  // Ratio 0 is as slow as the nearest that was measured, 0.75 half-way between.
  const std::vector<int64_t> expected_{8192, 8192, 12288, 16384};
  test::TemporaryDirectory directory_;
};

TEST_F(Rates, GiveTokensAtEqualTime) {
  EXPECT_EQ(tokens(results({measured("one", {"sweep.controls=[no_conv]", "sweep.control_ratio=0.5"})})), expected_);
}

TEST_F(Rates, AreThoseOfTheSameModelAmongSeveralSweeps) {
  std::vector<ReportedTrial> wider = measured("wider", {"model.moe.expert_hidden=32"});
  for (ReportedTrial& trial : wider) trial.entry.outcome.tok_s = 77;
  const auto one = measured("one", {"sweep.tokens=[32768]"});  // of whatever budget
  EXPECT_EQ(tokens(results({wider, one})), expected_);
  const std::string said = refused(results({wider}));
  EXPECT_NE(said.find("has ratio 1 of other models: wider at budget 16384 (22 experts, "), std::string::npos) << said;
}

TEST_F(Rates, OfSeveralSweepsOfTheModelAreThoseAtItsBudget) {
  std::vector<ReportedTrial> longer = measured("longer", {"sweep.tokens=[32768]"});
  for (ReportedTrial& trial : longer) trial.entry.outcome.tok_s = 77;
  EXPECT_EQ(tokens(results({longer, measured("one")})), expected_);
  const std::string twice = refused(results({measured("one"), longer, measured("two")}));
  EXPECT_NE(twice.find("one at budget 16384 ("), std::string::npos) << twice;
  EXPECT_NE(twice.find("two at budget 16384 ("), std::string::npos) << twice;
  EXPECT_NE(twice.find("wanted one sweep at budget 16384"), std::string::npos) << twice;
}

TEST_F(Rates, WantAFileThatHasThem) {
  EXPECT_NE(refused("sweep.rates=/nowhere.csv").find("sweep.rates: /nowhere.csv: "), std::string::npos);
  std::vector<ReportedTrial> none = measured("one");
  for (ReportedTrial& trial : none) trial.entry.state = TrialState::kFailed;
  EXPECT_NE(refused(results({none})).find("has no finished trial at ratio 1; wanted one"), std::string::npos);
}

}  // namespace
}  // namespace engram
