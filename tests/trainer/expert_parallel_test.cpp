#include "tests/trainer/checkpoint_testing.h"
#include "trainer/evaluate.h"

// Training with experts that ranks share: the same as training with all experts on each rank.
namespace engram {
namespace {

using test::bits_of;
using test::GlobalState;
using test::GlobalStateBuilder;
using test::tiny_identity;
using test::TinyReplica;

RunConfig run_with(int64_t expert_ranks) {
  RunConfig config = test::tiny_run();
  config.model.num_layers = 3;  // two mixtures
  config.parallel.expert = expert_ranks;
  config.parallel.expert_headroom = 4;
  return config;
}

struct Outcome {
  std::vector<double> losses, norms;
  GlobalState state;
};

Outcome train(const RunConfig& config, int num_ranks, DType dtype, int64_t num_steps) {
  Outcome outcome;
  GlobalStateBuilder builder;
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, dtype);
    for (int64_t i = 0; i < num_steps; ++i) {
      const StepReport report = test::made_up_step(tiny.replica);
      if (world.rank() != 0) continue;
      outcome.losses.push_back(report.loss);
      outcome.norms.push_back(report.norm);
    }
    builder.add(tiny.replica);
  });
  outcome.state = builder.state();
  return outcome;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double bound) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], bound) << "step " << i + 1;
}

struct Ranks {
  int all, expert;
};
constexpr Ranks kRanks[] = {{2, 2}, {4, 2}, {4, 4}};

TEST(ExpertParallel, LossesAndNormsAreThoseOfOneRank) {
  const Outcome one = train(run_with(1), 1, DType::kFloat64, 50);
  EXPECT_LT(one.losses.back(), one.losses.front() - 0.5);
  for (const auto& [all, expert] : kRanks) {
    SCOPED_TRACE(std::to_string(all) + " ranks, " + std::to_string(expert) + " share the experts");
    const Outcome shared = train(run_with(expert), all, DType::kFloat64, 50);
    expect_near(shared.losses, one.losses, 1e-9);
    expect_near(shared.norms, one.norms, 1e-8);
  }
}

TEST(ExpertParallel, FloatLossesAreThoseOfOneRank) {
  const Outcome one = train(run_with(1), 1, DType::kFloat32, 50);
  for (const auto& [all, expert] : kRanks) {
    expect_near(train(run_with(expert), all, DType::kFloat32, 50).losses, one.losses, 1e-3);
  }
}

TEST(ExpertParallel, InitialValuesAreThoseOfOneRank) {
  const GlobalState one = train(run_with(1), 1, DType::kFloat32, 0).state;
  for (const auto& [all, expert] : kRanks) {
    EXPECT_TRUE(train(run_with(expert), all, DType::kFloat32, 0).state == one) << all << ", " << expert;
  }
}

TEST(ExpertParallel, RerunAndRecomputationGiveTheSameBits) {
  RunConfig recompute = run_with(2);
  recompute.train.recompute = true;
  const Outcome first = train(run_with(2), 4, DType::kFloat32, 8);
  for (const RunConfig& config : {run_with(2), recompute}) {
    const Outcome again = train(config, 4, DType::kFloat32, 8);
    EXPECT_EQ(again.losses, first.losses);
    EXPECT_TRUE(again.state == first.state);
  }
}

TEST(ExpertParallel, WithoutSharedExpertsAndWithoutReplicas) {
  RunConfig alone = run_with(1), shared = run_with(4);
  for (RunConfig* config : {&alone, &shared}) config->model.moe.num_shared_experts = 0;
  expect_near(train(shared, 4, DType::kFloat64, 10).losses, train(alone, 4, DType::kFloat64, 10).losses, 1e-10);
}

TEST(ExpertParallel, ASkippedStepChangesNoBit) {
  run_ranks(4, [](Communicator& world) {
    TinyReplica tiny(run_with(2), world, DType::kFloat32);
    Replica& r = tiny.replica;
    test::made_up_step(r);
    const auto before = bits_of(r);
    float& weight = host_span<float>(r.expert_store.parameters().back().value)[5];
    const float kept = std::exchange(weight, std::numeric_limits<float>::infinity());
    const bool is_skipped = test::made_up_step(r).skipped;
    r.await_weights();
    weight = kept;
    EXPECT_TRUE(is_skipped);
    EXPECT_TRUE(bits_of(r) == before);
  });
}

TEST(ExpertParallel, CheckpointsGoFromAnyMeshToAnyOther) {
  constexpr Ranks kMeshes[] = {{1, 1}, {2, 1}, {2, 2}, {4, 2}, {4, 4}};
  for (const Ranks& writer : kMeshes) {
    const test::TemporaryDirectory directory;
    GlobalStateBuilder saved;
    run_ranks(writer.all, [&](Communicator& world) {
      TinyReplica tiny(run_with(writer.expert), world, DType::kFloat32);
      test::made_up_steps(tiny.replica, 3);
      save_checkpoint(tiny.replica, tiny_identity(), directory.path());
      saved.add(tiny.replica);
    });
    for (const Ranks& reader : kMeshes) {
      SCOPED_TRACE(testing::Message() << writer.all << "/" << writer.expert << " to " << reader.all << "/"
                                      << reader.expert);
      GlobalStateBuilder loaded;
      run_ranks(reader.all, [&](Communicator& world) {
        TinyReplica tiny(run_with(reader.expert), world, DType::kFloat32);
        load_checkpoint(tiny.replica, tiny_identity(), directory / "step-00000003", LoadScope::kResume);
        loaded.add(tiny.replica);
        tiny.replica.await_weights();
        for (const Parameter& p : tiny.replica.expert_store.parameters()) {  // gathered over the replicas
          const auto& whole = saved.state().at("dense/" + p.name + "/value");
          const auto* data = static_cast<const std::byte*>(p.value.data);
          EXPECT_TRUE(std::equal(data, data + p.value.num_bytes(), whole.begin() + p.first * size_of(p.value.dtype)));
        }
      });
      EXPECT_TRUE(loaded.state() == saved.state());
    }
  }
}

TEST(ExpertParallel, MoreRowsThanThereIsRoomForEndTheRun) {
  RunConfig config = run_with(2);
  config.parallel.expert_headroom = 1.0;  // an even spread would fit
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(config, world, DType::kFloat32);
    EXPECT_NE(test::error_of([&] { test::made_up_step(tiny.replica); }).find("parallel.expert_headroom 1 times"),
              std::string::npos);
  });
}

}  // namespace
}  // namespace engram
