#include "trainer/sweep_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "tests/trainer/sweep_testing.h"
#include "trainer/config.h"
#include "trainer/sweep_rates.h"
#include "trainer/sweep_solver.h"

namespace engram {
namespace {

using test::refused_plan;
using test::small_sweep;

SweepFile file_of(const std::string& name) {
  return load_sweep(std::string(ENGRAM_SOURCE_DIR) + "/configs/sweeps/" + name + ".yaml");
}
SweepPlan plan_of(const std::string& name) { return make_plan(file_of(name)); }

struct PublishedSweep {
  const char* file;
  std::vector<int64_t> experts;
  std::vector<int> tenths;  // of a per cent: the printed ratio, cut off
  double total, active, tokens;
};

// arXiv:2601.07372, Figure 3 left and section 3.
const PublishedSweep kPublished[] = {
    {"paper_2e20",
     {46, 57, 66, 76, 81, 86, 91, 96, 101, 106},
     {400, 510, 600, 700, 750, 800, 850, 900, 950, 1000},
     5.7e9,
     568e6,
     58.7e9},
    {"paper_6e20",
     {43, 53, 62, 71, 76, 80, 85, 90, 94, 99},
     {397, 505, 602, 698, 752, 795, 849, 903, 946, 1000},
     9.9e9,
     993e6,
     100.7e9},
};

TEST(SweepPlan, ReproducesTheTwentyPublishedPoints) {
  for (const PublishedSweep& published : kPublished) {
    const SweepPlan plan = plan_of(published.file);
    ASSERT_EQ(plan.points.size(), 10u);
    for (size_t i = 0; i < 10; ++i) {
      const TrialFacts& facts = plan.points[i].facts;
      EXPECT_EQ(facts.experts, published.experts[i]);
      const int64_t most = published.experts.back();
      EXPECT_EQ(1000 * (facts.experts - 6) / (most - 6), published.tenths[i]);
      EXPECT_NEAR(facts.achieved, published.tenths[i] / 1000.0, 0.003);
      EXPECT_NEAR(static_cast<double>(facts.total_parameters) / published.total, 1, 0.01);
      EXPECT_NEAR(static_cast<double>(plan.points[9].facts.active_parameters) / published.active, 1, 0.01);
      EXPECT_NEAR(static_cast<double>(facts.tokens) / published.tokens, 1, 0.01);
      EXPECT_LT(std::abs(plan.points[i].total_difference), 2e-4);
    }
  }
}

// Headline totals of the paper count the head and leave out norms, convolution and connections.
int64_t headline(const ModelConfig& model) {
  const ParameterCount n = count_parameters(model);
  return n.total() - n.embedding - n.norms - n.engram_conv - n.connections;
}

TEST(SweepPlan, ReproducesTheTotalsOfTheLargeModels) {
  const SweepPlan large = plan_of("paper_27b");
  EXPECT_EQ(large.points[0].facts.experts, 55);
  EXPECT_NEAR(static_cast<double>(headline(large.points[0].config.model)), 26'702'417'920.0, 1e-4 * 26.7e9);
  EXPECT_EQ(headline(large.points[1].config.model), 26'702'417'920);
  EXPECT_NEAR(static_cast<double>(large.points[0].facts.rows_per_head), 2'262'400, 0.002 * 2'262'400);
  const SweepPlan larger = plan_of("paper_40b");
  EXPECT_EQ(headline(larger.points[1].config.model), 26'710'597'760);
  EXPECT_EQ(headline(larger.points[2].config.model), 39'452'570'560);
}

TEST(SweepPlan, EveryFileInConfigsCanBePlanned) {
  for (const auto& entry : std::filesystem::directory_iterator(std::string(ENGRAM_SOURCE_DIR) + "/configs/sweeps")) {
    if (entry.path().stem() == "research_time") continue;  // wants the report of another
    const SweepPlan plan =
        make_plan(load_sweep(entry.path().string(), {"sweep.memory_gib=1000", "sweep.max_epochs=0"}));
    EXPECT_FALSE(plan.trials.empty()) << entry.path();
  }
}

// What is reported together is trained alike: the files differ in the section `sweep` and their name alone.
TEST(SweepPlan, ResearchFilesOfABudgetAreAlike) {
  const std::vector<std::vector<std::string>> budgets{{"first", "controls", "structure", "table_optimizers"},
                                                      {"second", "memory", "time", "tokens"}};
  for (const std::vector<std::string>& names : budgets) {
    const SweepFile first = file_of("research_" + names[0]);
    for (const std::string& name : names) {
      SweepFile file = file_of("research_" + name);
      EXPECT_EQ(file.sweep.evaluations, first.sweep.evaluations) << name;
      EXPECT_EQ(file.sweep.warmup_share, first.sweep.warmup_share) << name;
      EXPECT_EQ(file.sweep.decay_share, first.sweep.decay_share) << name;
      EXPECT_EQ(file.sweep.flop_rate, first.sweep.flop_rate) << name;
      EXPECT_GT(file.sweep.flop_rate, 0) << name;
      file.run.name = first.run.name;
      EXPECT_EQ(print_config(file), print_config(first)) << name;
    }
  }
}

TEST(SweepPlan, KeepsTotalAndActiveParametersEqual) {
  const SweepFile file = small_sweep();
  const SweepPlan plan = make_plan(file);
  const auto pure = count_parameters(without_tables(file.model));
  ASSERT_EQ(plan.points.size(), 4u);
  const int64_t experts[] = {2, 12, 17, 22};
  for (size_t i = 0; i < 4; ++i) {
    const SweepPoint& point = plan.points[i];
    const ParameterCount count = count_parameters(point.config.model);
    EXPECT_EQ(point.facts.experts, experts[i]);
    EXPECT_EQ(point.config.model.moe.num_experts, experts[i]);
    EXPECT_LE(std::abs(total_parameters(count) - total_parameters(pure)), total_parameters(pure) / 1000);
    // One step of the width is 2 columns x 3 matrices x 32 x 2 layers.
    EXPECT_LE(std::abs(count.active() - pure.active()), 2 * 3 * 32 * 2 / 2);
    EXPECT_NEAR(point.facts.achieved, point.facts.ratio, 0.05);
    EXPECT_EQ(point.facts.tokens, 16384);
    EXPECT_EQ(point.config.train.steps, 64);
  }
  EXPECT_FALSE(plan.points[3].config.model.engram.enabled());
  EXPECT_EQ(plan.points[3].config.model.moe.shared_width(), 64);
}

TEST(SweepPlan, MayLeaveWhatEngramComputesOnTop) {
  const SweepPlan plan = make_plan(small_sweep({"sweep.compensate=none"}));
  EXPECT_EQ(plan.points[1].config.model.moe.shared_width(), 64);
  EXPECT_GT(plan.points[1].active_difference, 0.01);
  EXPECT_LT(std::abs(plan.points[1].total_difference), 1e-3);
}

TEST(SweepPlan, TrialsDifferInSeedAndPoint) {
  const SweepPlan plan = make_plan(small_sweep());
  ASSERT_EQ(plan.trials.size(), 8u);
  std::set<std::string> digests;
  for (const PlannedTrial& trial : plan.trials) digests.insert(trial.digest);
  EXPECT_EQ(digests.size(), 8u);
  EXPECT_EQ(plan.trials[0].config.run.seed, 3);
  EXPECT_EQ(plan.trials[4].config.run.seed, 4);
  EXPECT_EQ(plan.trials[4].facts.experts, plan.trials[0].facts.experts);
  EXPECT_EQ(plan.trials[0].config.run.dir, "runs/small/trials");
}

TEST(SweepPlan, ADigestIgnoresNameAndPlaceAlone) {
  const auto digest = [](const std::vector<std::string>& sets) {
    return make_plan(small_sweep(sets)).trials[1].digest;
  };
  EXPECT_EQ(digest({"run.name=other", "run.dir=/elsewhere"}), digest({}));
  EXPECT_NE(digest({"optimizer.dense.lr=0.5"}), digest({}));
  EXPECT_NE(digest({"sweep.tokens=[8192]"}), digest({}));
}

TEST(SweepPlan, BudgetsAreFlopsTokensOrTokensPerActiveParameter) {
  const auto active = static_cast<double>(make_plan(small_sweep()).points[3].facts.active_parameters);
  const SweepPlan flops = make_plan(small_sweep({"sweep.tokens=[]", "sweep.flops=[1e10, 4e10]"}));
  ASSERT_EQ(flops.points.size(), 8u);
  EXPECT_NEAR(static_cast<double>(flops.points[0].facts.tokens), 1e10 / (6 * active), 128);
  EXPECT_NEAR(static_cast<double>(flops.points[4].facts.tokens), 4e10 / (6 * active), 128);
  const SweepPlan relative = make_plan(small_sweep({"sweep.tokens=[]", "sweep.tokens_per_active=3"}));
  EXPECT_NEAR(static_cast<double>(relative.points[0].facts.tokens), 3 * active, 128);
}

TEST(SweepPlan, TheScheduleFollowsTheLength) {
  const SweepPlan plan = make_plan(
      small_sweep({"sweep.warmup_share=0.125", "sweep.decay_share=0.25", "data.validation=v.h5", "sweep.evaluations=4",
                   "optimizer.schedule.kind=wsd", "optimizer.schedule.decay_steps=1"}));
  const RunConfig& config = plan.points[0].config;
  EXPECT_EQ(config.optimizer.schedule.warmup_steps, 8);
  EXPECT_EQ(config.optimizer.schedule.decay_steps, 16);
  EXPECT_EQ(config.train.eval_every, 16);
}

TEST(SweepPlan, ControlsAreSolvedLikeTheCurve) {
  const SweepPlan plan = make_plan(small_sweep(
      {R"(sweep.controls=[no_conv, plain_gate, wide_shared, "model.engram.heads=4; model.engram.layers=[0]"])",
       "sweep.control_ratio=0.5"}));
  ASSERT_EQ(plan.points.size(), 8u);
  for (size_t i = 4; i < 8; ++i) {
    const bool is_wide = plan.points[i].facts.control == kWideShared;
    EXPECT_LE(std::abs(plan.points[i].total_difference), is_wide ? 0.1 : 1e-3);
  }
  EXPECT_FALSE(plan.points[4].config.model.engram.conv);
  EXPECT_EQ(plan.points[5].config.model.engram.gate, GateForm::kPlain);
  EXPECT_EQ(plan.points[6].facts.experts, 22);
  // Ratio 1 with all that the memory of the curve's points computes when nothing makes up for it.
  const SweepPlan uncompensated = make_plan(small_sweep({"sweep.compensate=none"}));
  EXPECT_NEAR(plan.points[6].active_difference, uncompensated.points[2].active_difference, 0.02);
  EXPECT_EQ(plan.points[7].config.model.engram.heads, 4);
  EXPECT_EQ(plan.points[7].config.model.engram.layers, std::vector<int64_t>{0});
}

TEST(SweepPlan, EveryNamedControlChangesWhatItNames) {
  const SweepPlan plan =
      make_plan(small_sweep({"sweep.ratios=[]", "sweep.control_ratio=0.5",
                             "sweep.controls=[no_gate, shuffled, constant, frozen, no_compression, across_documents, "
                             "over_encoding]"}));
  ASSERT_EQ(plan.points.size(), 7u);
  const auto engram = [&](size_t i) { return plan.points[i].config.model.engram; };
  EXPECT_EQ(engram(0).fusion, MemoryFusion::kHalf);
  EXPECT_EQ(engram(1).addressing, Addressing::kShuffled);
  EXPECT_EQ(engram(2).addressing, Addressing::kConstant);
  EXPECT_EQ(plan.points[3].config.optimizer.table.lr_mult, 0);
  EXPECT_FALSE(engram(4).compression);
  EXPECT_EQ(engram(5).boundary, NgramBoundary::kSequence);
  EXPECT_EQ(engram(6).fusion, MemoryFusion::kMean);
  EXPECT_EQ(engram(6).layers, std::vector<int64_t>{0});
  const std::string said = refused_plan({"sweep.controls=[shuffled]", "train.micro_batch=1"});
  EXPECT_NE(said.find("shuffled with train.micro_batch 1"), std::string::npos) << said;
}

TEST(SweepPlan, MemoryGrowsOnAFixedBackbone) {
  const SweepPlan plan = make_plan(small_sweep({"sweep.kind=memory", "sweep.table_rows=[0, 100, 1000]"}));
  ASSERT_EQ(plan.points.size(), 3u);
  EXPECT_EQ(plan.points[0].facts.table_parameters, 0);
  EXPECT_NEAR(static_cast<double>(plan.points[2].facts.table_parameters), 4 * 1000 * 4, 500);
  for (const SweepPoint& point : plan.points) EXPECT_EQ(point.facts.experts, 22);
}

struct Refusal {
  std::vector<std::string> sets;
  std::string reason;
  std::string nearest;
};

const Refusal kRefusals[] = {
    {{"sweep.ratios=[1.2]"}, "sweep.ratios: 1.2 is outside [0, 1]", "the nearest feasible is 1"},
    {{"sweep.ratios=[-0.1]"}, "sweep.ratios: -0.1 is outside [0, 1]", "the nearest feasible is 0"},
    {{"model.moe.num_experts=1"}, "2 active experts of 1 routed ones", "the nearest feasible is 3"},
    {{"model.moe.num_experts=2"}, "2 experts with top_k 2 leave no idle ones", "the nearest feasible is 3"},
    {{"sweep.ratios=[0.99]"}, "ratio 0.99 is ratio 1 once experts are whole", "the nearest feasible below it is 0.95"},
    {{"sweep.ratios=[0.95]", "sweep.compensate=none", "model.engram.memory_dim=64"},
     "fewer than 2 base rows per head",
     "the nearest feasible is 0."},
    {{"sweep.ranks=4096", "train.global_batch=4096", "train.micro_batch=1", "sweep.ratios=[0.9]"},
     "is below one row for each of 4096 ranks",
     "the nearest feasible is 0"},
    {{"model.moe.shared_hidden=4"},
     "computes more than the shared experts' width 4 can make up for",
     "the nearest feasible is a width of "},
    {{"sweep.memory_gib=0.035"},
     "GiB on each of 1 ranks, 0.035 GiB are there",
     "the nearest feasible is train.micro_batch"},
    {{"sweep.memory_gib=0.001"}, "GiB on each of 1 ranks, 0.001 GiB are there", "the nearest feasible is 0.0"},
    {{"sweep.kind=memory", "sweep.table_rows=[1]"}, "1 row per head is below the least", "the nearest feasible is 2"},
};

TEST(SweepPlan, RefusesWhatCannotBeWithTheNearestThatCan) {
  for (const Refusal& refusal : kRefusals) {
    const std::string said = refused_plan(refusal.sets);
    EXPECT_NE(said.find(refusal.reason), std::string::npos) << refusal.sets[0] << ": " << said;
    EXPECT_NE(said.find(refusal.nearest), std::string::npos) << refusal.sets[0] << ": " << said;
  }
}

// What is called nearest can in fact be planned.
TEST(SweepPlan, TheNearestFeasibleRatioIsFeasible) {
  std::vector<std::string> sets{"sweep.compensate=none", "model.engram.memory_dim=64", "sweep.ratios=[0.95]"};
  const std::string said = refused_plan(sets), before = "nearest feasible is ";
  const size_t begin = said.find(before) + before.size();
  sets.back() = "sweep.ratios=[" + said.substr(begin, said.find(' ', begin) - begin) + "]";
  EXPECT_EQ(refused_plan(sets), "");
}

TEST(SweepPlan, RefusesSeveralPointsAtOnceAndUnknownControls) {
  const std::string said = refused_plan({"sweep.ratios=[0.98, 0.99]", "sweep.controls=[no_cov, model.engram.hads=2]"});
  for (const char* part :
       {"ratio 0.98 is", "ratio 0.99 is", "did you mean \"no_conv\"", "model.engram.hads: unknown key"}) {
    EXPECT_NE(said.find(part), std::string::npos) << part << " in " << said;
  }
}

TEST(SweepFile, IsAsStrictAsARun) {
  EXPECT_NE(test::refusal([] { small_sweep({"sweep.ratio=[1]"}); }).find("did you mean \"ratios\""), std::string::npos);
  EXPECT_NE(test::refusal([] { small_sweep({"sweep.seeds=[a]"}); }).find("element 0: \"a\" is not an integer"),
            std::string::npos);
  EXPECT_NE(test::refusal([] { small_sweep({"sweep.flops=[1e9]"}); }).find("2 of flops, tokens_per_active and tokens"),
            std::string::npos);
  EXPECT_EQ(small_sweep({"sweep.ratios=0.25"}).sweep.ratios, std::vector<double>{0.25});
  EXPECT_EQ(small_sweep({"sweep.slurm=\"--time=1\""}).sweep.slurm, std::vector<std::string>{"--time=1"});
  EXPECT_NE(explain_key("sweep.ratios").find("a list of numbers"), std::string::npos);
  EXPECT_NE(test::refusal([] { parse_config(test::kSmallSweep, "a.yaml"); }).find("sweep: unknown key"),
            std::string::npos);
}

}  // namespace
}  // namespace engram
