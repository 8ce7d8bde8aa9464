#include "trainer/checkpoint.h"

#include <filesystem>

#include "parallel/self_communicator.h"
#include "tests/trainer/checkpoint_testing.h"
#include "trainer/config.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using test::GlobalStateBuilder;
using test::TemporaryDirectory;
using test::tiny_identity;
using test::tiny_run;
using test::TinyReplica;

constexpr TableOptimizerKind kKinds[] = {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kAdamDense,
                                         TableOptimizerKind::kRowwiseAdam, TableOptimizerKind::kRowwiseAdagrad,
                                         TableOptimizerKind::kSgd};

RunConfig config_with(TableOptimizerKind kind) {
  RunConfig config = tiny_run();
  config.optimizer.table.kind = kind;
  return config;
}

// Saves in the middle of a run.
void expect_exact_resume(const RunConfig& config, int num_ranks) {
  const TemporaryDirectory directory;
  const int64_t half = config.train.steps / 2;
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica unbroken(config, world, DType::kFloat32), stopped(config, world, DType::kFloat32),
        resumed(config, world, DType::kFloat32);
    const std::vector<double> losses = test::made_up_steps(unbroken.replica, 2 * half);

    test::made_up_steps(stopped.replica, half);
    save_checkpoint(stopped.replica, tiny_identity(), directory.path());
    load_checkpoint(resumed.replica, tiny_identity(), newest_checkpoint(directory.path()).value(), LoadScope::kResume);
    EXPECT_EQ(resumed.replica.step, half);
    EXPECT_TRUE(test::bits_of(resumed.replica) == test::bits_of(stopped.replica));

    EXPECT_EQ(test::made_up_steps(resumed.replica, half), std::vector<double>(losses.begin() + half, losses.end()));
    EXPECT_TRUE(test::bits_of(resumed.replica) == test::bits_of(unbroken.replica));
  });
}

TEST(Checkpoint, ResumeEqualsTheUnbrokenRunBitForBit) {
  for (const TableOptimizerKind kind : kKinds) {
    for (const int num_ranks : {1, 2, 4}) {
      SCOPED_TRACE(std::string(enum_name(kind)) + " on " + std::to_string(num_ranks));
      expect_exact_resume(config_with(kind), num_ranks);
    }
  }
}

// Weights as this rank would read them now.
std::vector<std::byte> present_weights(Replica& r) {
  std::vector<std::byte> bits;
  for (const ZeroGroup& group : r.zero_groups) test::append_bits(r.stream, group.bucket().values, bits);
  return bits;
}

TEST(Checkpoint, NoWeightIsOnItsWayOnceItIsLoaded) {
  const TemporaryDirectory directory;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica saved(tiny_run(), world, DType::kFloat32), loaded(tiny_run(), world, DType::kFloat32);
    test::made_up_steps(saved.replica, 3);
    save_checkpoint(saved.replica, tiny_identity(), directory.path());
    load_checkpoint(loaded.replica, tiny_identity(), newest_checkpoint(directory.path()).value(), LoadScope::kResume);
    saved.replica.await_weights();
    EXPECT_TRUE(present_weights(loaded.replica) == present_weights(saved.replica));
  });
}

TEST(Checkpoint, ResumeWithConvolutionWithoutMemoryAndWithoutExperts) {
  RunConfig conv = tiny_run(), plain = tiny_run(), dense = tiny_run();
  conv.model.engram.conv = true;
  conv.model.tie_embeddings = true;
  plain.model.engram.layers = {};
  dense.model.moe.num_experts = 0;
  for (const RunConfig& config : {conv, plain, dense}) expect_exact_resume(config, 2);
}

TEST(Checkpoint, ResumeWithOtherOptimizersSchedulesAndClipping) {
  RunConfig bare = tiny_run(), wsd = tiny_run(), step = tiny_run();
  bare.optimizer.dense.weight_decay = bare.optimizer.dense.beta1 = bare.optimizer.clip.norm = 0;
  bare.optimizer.schedule = {.kind = ScheduleKind::kConstant};
  wsd.optimizer.schedule = {.kind = ScheduleKind::kWsd, .warmup_steps = 3, .decay_steps = 30};
  wsd.optimizer.clip = {.norm = 0.1, .scope = ClipScope::kSeparate};
  step.optimizer.schedule.kind = ScheduleKind::kStep;
  step.parallel.bucket_mib = 1;  // one bucket
  step.train.recompute = true;
  for (const RunConfig& config : {bare, wsd, step}) expect_exact_resume(config, 2);
}

// What a spike is depends on the steps before, those before the checkpoint included.
TEST(Checkpoint, ResumeWithSpikesThatAreSkipped) {
  RunConfig config = tiny_run();
  config.train.steps = 150;
  config.train.spike_policy = SpikePolicy::kSkip;
  config.train.spike_sigma = 0.5;
  expect_exact_resume(config, 2);
  SelfCommunicator world;
  TinyReplica tiny(config, world, DType::kFloat32);
  const auto applied = [&] { return tiny.replica.state.history(tiny.replica.stream).applied_updates; };
  test::made_up_steps(tiny.replica, 75);
  EXPECT_EQ(applied(), 75);
  test::made_up_steps(tiny.replica, 75);  // fewer than a window: without those before, none would be a spike
  EXPECT_LT(applied(), 150);
}

TEST(Checkpoint, ResumeWithExpertsThatRanksShare) {
  RunConfig config = tiny_run();
  config.parallel.expert = 2;
  config.parallel.expert_headroom = 4;
  for (const int num_ranks : {2, 4}) expect_exact_resume(config, num_ranks);
}

TEST(Checkpoint, SavingChangesNothing) {
  const TemporaryDirectory directory;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    test::made_up_steps(tiny.replica, 3);
    const auto before = test::bits_of(tiny.replica);
    save_checkpoint(tiny.replica, tiny_identity(), directory.path());
    EXPECT_TRUE(test::bits_of(tiny.replica) == before);
  });
}

TEST(Checkpoint, CountersOfStepsAndOfAppliedUpdatesComeBack) {
  const TemporaryDirectory directory;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica saved(tiny_run(), world, DType::kFloat64), loaded(tiny_run(), world, DType::kFloat64);
    test::made_up_step(saved.replica);
    saved.replica.step = 31;  // as if some of the steps had been skipped
    saved.replica.passed_batches = 7;
    StepState::History history{.applied_updates = 28, .guard = std::vector<double>(kSpikeGuard)};
    for (size_t i = 0; i < history.guard.size(); ++i) history.guard[i] = 1.0 / static_cast<double>(i + 3);
    saved.replica.state.set_history(saved.replica.stream, history);
    save_checkpoint(saved.replica, tiny_identity(), directory.path());
    load_checkpoint(loaded.replica, tiny_identity(), directory / "step-00000031", LoadScope::kResume);
    EXPECT_EQ(loaded.replica.step, 31);
    EXPECT_EQ(loaded.replica.passed_batches, 7);
    EXPECT_EQ(loaded.replica.state.history(loaded.replica.stream).guard, history.guard);
    EXPECT_EQ(loaded.replica.state.history(loaded.replica.stream).applied_updates, 28);
  });
}

TEST(Checkpoint, AnyNumberOfRanksLoadsTheSameBits) {
  size_t pair = 0;
  for (const auto& [num_writers, num_readers] :
       {std::pair{1, 2}, {1, 4}, {2, 1}, {2, 3}, {3, 2}, {3, 4}, {4, 1}, {4, 2}, {4, 3}, {2, 4}}) {
    RunConfig config = config_with(kKinds[pair++ % std::size(kKinds)]);
    config.train.global_batch = 12;
    SCOPED_TRACE(std::to_string(num_writers) + " to " + std::to_string(num_readers) + ", " +
                 std::string(enum_name(config.optimizer.table.kind)));
    const TemporaryDirectory directory;
    GlobalStateBuilder saved, loaded;
    run_ranks(num_writers, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32);
      test::made_up_steps(tiny.replica, 4);
      save_checkpoint(tiny.replica, tiny_identity(), directory.path());
      saved.add(tiny.replica);
    });
    run_ranks(num_readers, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32);
      Replica& r = tiny.replica;
      load_checkpoint(r, tiny_identity(), directory / "step-00000004", LoadScope::kResume);
      loaded.add(r);
      r.await_weights();
      for (const Parameter& p : r.store.parameters()) {  // whole on every rank
        const auto* data = static_cast<const std::byte*>(p.value.data);
        EXPECT_EQ(saved.state().at("dense/" + p.name + "/value"), std::vector(data, data + p.value.num_bytes()));
      }
    });
    EXPECT_TRUE(loaded.state() == saved.state());
  }
}

TEST(Checkpoint, WeightsAloneLeaveOptimizerAndCountersAlone) {
  const TemporaryDirectory directory;
  GlobalStateBuilder saved, fresh, loaded;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    test::made_up_steps(tiny.replica, 5);
    save_checkpoint(tiny.replica, tiny_identity(), directory.path());
    saved.add(tiny.replica);
  });
  RunConfig other = tiny_run();  // what weights do not depend on
  other.run.seed = 77;
  other.train.global_batch = 3;
  other.data.seq_len = 9;
  RunIdentity identity = tiny_identity();
  identity.data_digest = "other data";
  run_ranks(3, [&](Communicator& world) {
    TinyReplica tiny(other, world, DType::kFloat32);
    fresh.add(tiny.replica);
    load_checkpoint(tiny.replica, identity, directory / "step-00000005", LoadScope::kWeights);
    loaded.add(tiny.replica);
    EXPECT_EQ(tiny.replica.step, 0);
    EXPECT_EQ(tiny.replica.state.history(tiny.replica.stream).applied_updates, 0);
  });
  ASSERT_EQ(loaded.state().size(), saved.state().size());
  for (const auto& [name, bits] : loaded.state()) {
    const bool is_optimizer = name.ends_with("/m") || name.ends_with("/v") || name.ends_with("/count");
    EXPECT_TRUE(bits == (is_optimizer ? fresh : saved).state().at(name)) << name;
    EXPECT_FALSE(fresh.state().at(name) == saved.state().at(name)) << name << ": training did not change it";
  }
}

TEST(Checkpoint, KeepsTheNewest) {
  const TemporaryDirectory directory;
  RunConfig config = tiny_run();
  config.checkpoint.keep = 2;
  test::train_and_save(config, 2, 5, directory.path(), 1);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(directory.path())) left.push_back(entry.path().filename());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"step-00000004", "step-00000005"}));
  EXPECT_EQ(newest_checkpoint(directory.path()), directory / "step-00000005");
}

TEST(Checkpoint, TheNewestIsByNumberAndComplete) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(newest_checkpoint(directory.path()));
  EXPECT_FALSE(newest_checkpoint(directory / "nowhere"));
  for (const char* name : {"step-00000007", "step-123456789", "step-99999999", "step-old", "step-", "tmp.step-00000900",
                           "step-00000900.bak", "other"}) {
    fs::create_directory(directory / name);
    test::write_file(directory / name + "/MANIFEST.json", "{}");
  }
  fs::create_directory(directory / "step-999999999");  // without a manifest
  test::write_file(directory / "step-888888888", "a file");
  EXPECT_EQ(newest_checkpoint(directory.path()), directory / "step-123456789");
}

TEST(Checkpoint, LeftoversOfAnUnfinishedSaveAreRemovedAndNeverChosen) {
  const TemporaryDirectory directory;
  test::train_and_save(tiny_run(), 2, 2, directory.path(), 1);
  for (const char* name : {"tmp.step-00000002", "tmp.step-00000009"}) {
    fs::copy(directory / "step-00000001", directory / name);
  }
  EXPECT_EQ(newest_checkpoint(directory.path()), directory / "step-00000002");
  test::train_and_save(tiny_run(), 2, 2, directory.path(), 2);  // the same step once more, by another number of steps
  EXPECT_FALSE(fs::exists(directory / "tmp.step-00000002"));
  EXPECT_FALSE(fs::exists(directory / "tmp.step-00000009"));
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    load_checkpoint(tiny.replica, tiny_identity(), directory / "step-00000002", LoadScope::kResume);
  });
}

TEST(Checkpoint, IsFoundByItsOwnPathOrByThatOfTheRun) {
  const TemporaryDirectory run;
  const std::string checkpoints = run / "checkpoints";
  test::train_and_save(tiny_run(), 1, 2, checkpoints, 1);
  EXPECT_EQ(resolve_checkpoint(run.path()), checkpoints + "/step-00000002");
  EXPECT_EQ(resolve_checkpoint(checkpoints + "/step-00000001"), checkpoints + "/step-00000001");
  const std::string message = test::error_of([&] { resolve_checkpoint(run / "nowhere"); });
  EXPECT_NE(message.find("nowhere: is no complete checkpoint"), std::string::npos) << message;
}

TEST(Checkpoint, GivesItsConfigurationBack) {
  const TemporaryDirectory directory;
  RunConfig config = tiny_run();
  config.run.name = "a name: with \"marks\"";
  test::train_and_save(config, 1, 1, directory.path(), 1);
  EXPECT_TRUE(config_differences(checkpoint_config(directory / "step-00000001"), config).empty());
}

}  // namespace
}  // namespace engram
