#include "trainer/step.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "tests/parallel/recording_communicator.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/evaluate.h"

namespace engram {
namespace {

using test::bits_of;
using test::tiny_run;
using test::TinyReplica;

constexpr TableOptimizerKind kKinds[] = {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kAdamDense,
                                         TableOptimizerKind::kRowwiseAdam, TableOptimizerKind::kRowwiseAdagrad,
                                         TableOptimizerKind::kSgd};

struct Outcome {
  std::vector<double> losses;
  std::vector<std::vector<std::byte>> bits;  // of each rank at the end
};

Outcome train(const RunConfig& config, int num_ranks, DType dtype, int64_t num_steps) {
  Outcome outcome;
  outcome.bits.resize(static_cast<size_t>(num_ranks));
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, dtype);
    for (int64_t i = 0; i < num_steps; ++i) {
      const StepReport report = test::made_up_step(tiny.replica);
      if (world.rank() == 0) outcome.losses.push_back(report.loss);
    }
    outcome.bits[static_cast<size_t>(world.rank())] = bits_of(tiny.replica);
  });
  return outcome;
}

void expect_losses_near(const Outcome& got, const Outcome& want, double bound) {
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < want.losses.size(); ++i) EXPECT_NEAR(got.losses[i], want.losses[i], bound) << "step " << i + 1;
}

TEST(TrainStep, LossesDoNotDependOnTheNumberOfRanks) {
  const RunConfig config = tiny_run();
  const Outcome one = train(config, 1, DType::kFloat64, 30);
  EXPECT_LT(one.losses.back(), one.losses.front() - 0.5);
  for (const int num_ranks : {2, 4}) expect_losses_near(train(config, num_ranks, DType::kFloat64, 30), one, 1e-9);
}

TEST(TrainStep, FloatLossesAgreeOverRanks) {
  const RunConfig config = tiny_run();
  const Outcome one = train(config, 1, DType::kFloat32, 30);
  for (const int num_ranks : {2, 4}) expect_losses_near(train(config, num_ranks, DType::kFloat32, 30), one, 1e-3);
}

TEST(TrainStep, ARerunGivesTheSameBits) {
  for (const int num_ranks : {1, 2, 4}) {
    const Outcome first = train(tiny_run(), num_ranks, DType::kFloat32, 12);
    const Outcome second = train(tiny_run(), num_ranks, DType::kFloat32, 12);
    EXPECT_EQ(first.losses, second.losses);
    EXPECT_EQ(first.bits, second.bits);
  }
}

TEST(TrainStep, PreparingAheadAndReadingLateChangesNoBit) {
  run_ranks(2, [](Communicator& world) {
    TinyReplica at_once(tiny_run(), world, DType::kFloat32), ahead(tiny_run(), world, DType::kFloat32);
    std::vector<double> want;
    for (int i = 0; i < 6; ++i) want.push_back(test::made_up_step(at_once.replica).loss);
    EXPECT_EQ(test::pipelined_losses(ahead.replica, 6, [](int64_t) {}), want);
    EXPECT_EQ(bits_of(ahead.replica), bits_of(at_once.replica));
  });
}

TEST(TrainStep, EveryTableOptimizerLearnsTheSameOnAnyNumberOfRanks) {
  for (const TableOptimizerKind kind : kKinds) {
    RunConfig config = tiny_run();
    config.optimizer.table.kind = kind;
    config.optimizer.clip.scope = ClipScope::kSeparate;
    config.model.engram.conv = true;
    const Outcome one = train(config, 1, DType::kFloat64, 20);
    expect_losses_near(train(config, 4, DType::kFloat64, 20), one, 1e-9);
  }
}

TEST(TrainStep, BucketsOfParametersChangeNoLoss) {
  RunConfig config = test::tiny_run();
  config.optimizer.clip.norm = 0;  // the norm is summed bucket by bucket
  std::vector<std::vector<double>> losses;
  for (const double bucket_mib : {0.0, 0.004, 32.0}) {
    config.parallel.bucket_mib = bucket_mib;
    losses.push_back(train(config, 4, DType::kFloat32, 12).losses);
  }
  EXPECT_EQ(losses[0], losses[2]);
  EXPECT_EQ(losses[1], losses[2]);
}

TEST(TrainStep, WeightsMayBePublishedWhileOthersAreOnTheirWay) {
  run_ranks(2, [](Communicator& world) {
    TinyReplica once(tiny_run(), world, DType::kFloat32), again(tiny_run(), world, DType::kFloat32);
    test::made_up_step(once.replica);
    test::made_up_step(again.replica);  // which ends in the gathering of weights
    again.replica.publish_weights();
    EXPECT_EQ(bits_of(again.replica), bits_of(once.replica));
  });
}

TEST(TrainStep, AccumulationEqualsOneMicroBatch) {
  RunConfig whole = tiny_run(), pieces = tiny_run();
  whole.train.micro_batch = 4;
  expect_losses_near(train(pieces, 1, DType::kFloat64, 20), train(whole, 1, DType::kFloat64, 20), 1e-10);
}

TEST(TrainStep, RecomputeGivesTheSameBits) {
  RunConfig recompute = tiny_run();
  recompute.train.recompute = true;
  const Outcome keep = train(tiny_run(), 2, DType::kFloat32, 8), again = train(recompute, 2, DType::kFloat32, 8);
  EXPECT_EQ(keep.bits, again.bits);
}

// Takes a step with one gain of rank 2 spoiled, which spoils the gradients of that rank alone.
StepReport spoiled_step(Replica& r) {
  const auto& parameters = r.store.parameters();
  const auto norm = std::ranges::find(parameters, "final_norm.weight", &Parameter::name);
  float& gain = host_span<float>(norm->value)[5];
  const float kept = gain;
  if (r.world.rank() == 2) gain = std::numeric_limits<float>::infinity();
  const StepReport report = test::made_up_step(r);
  gain = kept;
  return report;
}

TEST(TrainStep, ANonFiniteStepIsSkippedEverywhereAndChangesNoBit) {
  for (const TableOptimizerKind kind : kKinds) {
    RunConfig config = tiny_run();
    config.optimizer.table.kind = kind;
    run_ranks(4, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32);
      Replica& r = tiny.replica;
      for (int i = 0; i < 3; ++i) test::made_up_step(r);
      const std::vector<std::byte> before = bits_of(r);
      EXPECT_TRUE(spoiled_step(r).skipped);
      EXPECT_EQ(r.step, 4);
      EXPECT_EQ(r.state.history(r.stream).applied_updates, 3);
      EXPECT_EQ(bits_of(r), before);
      EXPECT_FALSE(test::made_up_step(r).skipped);
    });
  }
}

TEST(TrainStep, TheStepAfterASkippedOneEqualsTheRunWithoutTheBadStep) {
  for (const TableOptimizerKind kind : kKinds) {
    RunConfig config = tiny_run();
    config.optimizer.table.kind = kind;
    run_ranks(4, [&](Communicator& world) {
      TinyReplica with(config, world, DType::kFloat32), without(config, world, DType::kFloat32);
      for (Replica* r : {&with.replica, &without.replica}) {
        for (int i = 0; i < 3; ++i) test::made_up_step(*r);
      }
      EXPECT_TRUE(spoiled_step(with.replica).skipped);
      ++without.replica.step;  // both see the same data from here on
      for (int i = 0; i < 3; ++i) {
        const StepReport a = test::made_up_step(with.replica), b = test::made_up_step(without.replica);
        EXPECT_EQ(a.loss, b.loss);
        EXPECT_EQ(a.lr, b.lr);
      }
      EXPECT_EQ(bits_of(with.replica), bits_of(without.replica));
    });
  }
}

TEST(TrainStep, ClippingScalesTheUpdateAndNotTheReportedNorm) {
  RunConfig loose = tiny_run(), tight = tiny_run();
  loose.optimizer.clip.norm = 0;
  tight.optimizer.clip.norm = 1e-3;
  run_ranks(1, [&](Communicator& world) {
    TinyReplica a(loose, world, DType::kFloat64), b(tight, world, DType::kFloat64);
    const StepReport first = test::made_up_step(a.replica), second = test::made_up_step(b.replica);
    EXPECT_EQ(first.norm, second.norm);
    const auto m_loose = host_span<double>(a.replica.zero_groups.front().optimizer_state()[0].value);
    const auto m_tight = host_span<double>(b.replica.zero_groups.front().optimizer_state()[0].value);
    for (size_t i = 0; i < m_loose.size(); ++i) {
      EXPECT_NEAR(m_tight[i], m_loose[i] * 1e-3 / (first.norm + 1e-6), 1e-12);
    }
  });
}

TEST(TrainStep, MeanGatesAreTheSameOnAnyNumberOfRanks) {
  StepReport one;
  for (const int num_ranks : {1, 4}) {
    run_ranks(num_ranks, [&](Communicator& world) {
      RunConfig config = tiny_run();
      config.train.recompute = num_ranks == 4;  // a gate that is computed again is counted once
      TinyReplica tiny(config, world, DType::kFloat64);
      const StepReport report = test::made_up_step(tiny.replica);
      if (num_ranks == 1) one = report;
      EXPECT_NEAR(report.min_gate, one.min_gate, 1e-12);
      EXPECT_NEAR(report.max_gate, one.max_gate, 1e-12);
    });
  }
  EXPECT_GT(one.min_gate, 0.3);  // sigmoids of scores around 0
  EXPECT_LT(one.min_gate, one.max_gate);
  EXPECT_LT(one.max_gate, 0.7);
  EXPECT_NEAR(one.mean_gate, (one.min_gate + one.max_gate) / 2, 1e-12);  // two layers
}

TEST(TrainStep, TheExchangeIsCountedOverAllRanks) {
  for (const int num_ranks : {1, 3}) {
    std::vector<double> served(static_cast<size_t>(num_ranks)), bytes(served.size());
    StepReport report;
    RunConfig config = tiny_run();
    config.train.global_batch = 6;
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32);
      const StepReport own = test::made_up_step(tiny.replica);
      const auto rank = static_cast<size_t>(world.rank());
      served[rank] = static_cast<double>(tiny.replica.memory->stats().served);
      bytes[rank] = static_cast<double>(tiny.replica.memory->stats().bytes_sent);
      if (rank == 0) report = own;
    });
    double mean = 0, variance = 0, total_bytes = 0;
    for (const double count : served) mean += count / num_ranks;
    for (const double count : served) variance += (count - mean) * (count - mean) / num_ranks;
    for (const double count : bytes) total_bytes += count;
    EXPECT_EQ(report.exchanged_bytes, total_bytes);
    EXPECT_NEAR(report.num_unique_rows, mean * num_ranks, 1e-6);  // each is served once to each rank
    EXPECT_NEAR(report.imbalance, std::sqrt(variance) / mean, 1e-6);
    EXPECT_EQ(num_ranks > 1, report.exchanged_bytes > 0);
    EXPECT_EQ(num_ranks > 1, report.imbalance > 0);
  }
}

// They travel under the backward pass of what lies below the first memory layer, here the embedding.
TEST(TrainStep, RowGradientsLeaveBeforeTheLastDenseOnes) {
  RunConfig config = tiny_run();
  run_ranks(2, [&](Communicator& world) {
    std::vector<std::string> log;
    test::RecordingCommunicator recorded(world, log);
    TinyReplica tiny(config, recorded, DType::kFloat32);
    log.clear();
    test::made_up_step(tiny.replica);
    EXPECT_EQ(log, (std::vector<std::string>{"rows", "dense", "rows", "dense", "dense"}));
  });
}

TEST(TrainStep, TheNormCountsEveryParameterOnce) {
  double one = 0;
  for (const int num_ranks : {1, 2, 4}) {
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(tiny_run(), world, DType::kFloat64);
      const double norm = test::made_up_step(tiny.replica).norm;
      if (num_ranks == 1) one = norm;
      EXPECT_NEAR(norm, one, 1e-12 * one);
    });
  }
}

TEST(TrainStep, EveryParameterChangesInOneStep) {
  run_ranks(1, [](Communicator& world) {
    RunConfig config = tiny_run();
    config.model.engram.conv = true;
    config.model.attention.qk_norm = true;
    TinyReplica tiny(config, world, DType::kFloat64);
    Replica& r = tiny.replica;
    Arena arena(Device::kCpu, int64_t{4} << 20);
    const Tensor before = test::clone(arena, r.store.values()), rows = test::clone(arena, r.memory->table().weight());
    test::made_up_step(r);
    const char* base = static_cast<const char*>(r.store.values().data);
    for (const Parameter& p : r.store.parameters()) {
      const int64_t offset = (static_cast<const char*>(p.value.data) - base) / size_of(DType::kFloat64);
      EXPECT_FALSE(test::same_bits(before.rows(offset, p.numel()), p.value)) << p.name;
    }
    EXPECT_FALSE(test::same_bits(rows, r.memory->table().weight()));
  });
}

TEST(TrainStep, RouterBiasMovesByTheRateTowardBalance) {
  run_ranks(2, [](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    test::made_up_step(tiny.replica);
    const StateArray& bias = tiny.replica.store.states().front();
    ASSERT_EQ(bias.name, "blocks.1.moe.router.bias");
    int num_up = 0, num_down = 0;
    for (const float b : host_span<float>(bias.value)) {
      EXPECT_TRUE(b == 0 || std::abs(b) == 0.001f) << b;
      num_up += b > 0 ? 1 : 0;
      num_down += b < 0 ? 1 : 0;
    }
    EXPECT_GE(num_up, 1);  // 96 choices do not spread evenly over 4 experts by themselves
    EXPECT_GE(num_down, 1);
  });
}

}  // namespace
}  // namespace engram
