#include <cmath>

#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint_files.h"

// A checkpoint of any number of ranks continued on any other: the same state, then the same losses as those of the run
// that was never stopped, but for the order of sums.
namespace engram {
namespace {

using test::GlobalState;
using test::GlobalStateBuilder;
using test::TemporaryDirectory;
using test::tiny_identity;
using test::tiny_run;
using test::TinyReplica;

constexpr int64_t kStepsBefore = 3, kStepsAfter = 20;

RunConfig config_with(TableOptimizerKind kind) {
  RunConfig config = tiny_run();
  config.optimizer.table.kind = kind;
  config.optimizer.dense.eps = config.optimizer.table.eps = 1e-6;  // or Adam makes steps of gradients that are rounding
  config.train.global_batch = 24;                                  // divides over every number of ranks below
  return config;
}

// A checkpoint, its state, and how its run went on.
struct Saved {
  TemporaryDirectory directory;
  GlobalState state;
  std::vector<double> losses;

  std::string checkpoint() const { return directory / checkpoint_name(kStepsBefore); }
};

void save_on(int num_ranks, const RunConfig& config, DType dtype, Saved& saved) {
  GlobalStateBuilder state;
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, dtype);
    test::made_up_steps(tiny.replica, kStepsBefore);
    save_checkpoint(tiny.replica, tiny_identity(), saved.directory.path());
    state.add(tiny.replica);
    world.barrier();  // nobody trains on while another one looks
    const std::vector<double> losses = test::made_up_steps(tiny.replica, kStepsAfter);
    if (world.rank() == 0) saved.losses = losses;
  });
  saved.state = state.state();
}

void expect_continued_on(int num_ranks, const RunConfig& config, DType dtype, const Saved& saved) {
  GlobalStateBuilder loaded;
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, dtype);
    load_checkpoint(tiny.replica, tiny_identity(), saved.checkpoint(), LoadScope::kResume);
    loaded.add(tiny.replica);
    world.barrier();
    const std::vector<double> losses = test::made_up_steps(tiny.replica, kStepsAfter);
    const double bound = dtype == DType::kFloat64 ? 1e-9 : 1e-3;
    for (size_t i = 0; i < losses.size(); ++i) {
      EXPECT_NEAR(losses[i], saved.losses[i], bound * saved.losses[i]) << "step " << kStepsBefore + 1 + i;
    }
  });
  EXPECT_TRUE(loaded.state() == saved.state);
}

void expect_any_continues_any(const std::vector<int>& numbers, const RunConfig& config, DType dtype) {
  for (const int num_writers : numbers) {
    Saved saved;
    save_on(num_writers, config, dtype, saved);
    for (const int num_readers : numbers) {
      SCOPED_TRACE(std::string(enum_name(config.optimizer.table.kind)) + ", " + name_of(dtype) + ", " +
                   std::to_string(num_writers) + " to " + std::to_string(num_readers));
      expect_continued_on(num_readers, config, dtype, saved);
    }
  }
}

constexpr TableOptimizerKind kKinds[] = {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kAdamDense,
                                         TableOptimizerKind::kRowwiseAdam, TableOptimizerKind::kRowwiseAdagrad,
                                         TableOptimizerKind::kSgd};

TEST(Reshard, OneAndThreeRanksContinueEachOther) {
  expect_any_continues_any({1, 3}, config_with(TableOptimizerKind::kAdamLazy), DType::kFloat64);
}

TEST(Reshard, WithMomentsInBFloat16Too) {
  RunConfig config = config_with(TableOptimizerKind::kAdamLazy);
  config.optimizer.dense.moments = Moments::kBFloat16;
  expect_any_continues_any({1, 3}, config, DType::kFloat32);
}

TEST(ReshardSlow, EveryNumberOfRanksContinuesEveryOtherInDouble) {
  for (const TableOptimizerKind kind : kKinds)
    expect_any_continues_any({1, 2, 3, 4, 8}, config_with(kind), DType::kFloat64);
}

TEST(ReshardSlow, EveryNumberOfRanksContinuesEveryOtherInFloat) {
  for (const TableOptimizerKind kind : kKinds)
    expect_any_continues_any({1, 2, 3, 4, 8}, config_with(kind), DType::kFloat32);
}

}  // namespace
}  // namespace engram
