#include "tests/trainer/host_waits.h"

#include "kernels/core/device.h"
#include "kernels/core/event.h"

// The linker leads calls of ENGRAM_WAITS_FOR_STREAM and ENGRAM_WAITS_FOR_EVENT, the two functions by which the host
// waits, to those here (tests/CMakeLists.txt).
namespace engram {
namespace {

thread_local test::HostWaits waits_so_far;

}  // namespace

void wait_for_stream(Stream& stream) __asm__("__real_" ENGRAM_WAITS_FOR_STREAM);
void wait_for_event(const Event* event) __asm__("__real_" ENGRAM_WAITS_FOR_EVENT);

void count_wait_for_stream(Stream& stream) __asm__("__wrap_" ENGRAM_WAITS_FOR_STREAM);
void count_wait_for_stream(Stream& stream) {
  ++waits_so_far.streams;
  wait_for_stream(stream);
}

void count_wait_for_event(const Event* event) __asm__("__wrap_" ENGRAM_WAITS_FOR_EVENT);
void count_wait_for_event(const Event* event) {
  ++waits_so_far.events;
  wait_for_event(event);
}

test::HostWaits test::host_waits() { return waits_so_far; }

namespace {

using test::expect_waits;
using test::host_waits;
using test::HostWaits;
using test::tiny_run;
using test::TinyReplica;

TEST(HostWaits, EachIsCountedOnItsThread) {
  const HostWaits before = host_waits();
  Stream stream = make_stream(Device::kCpu);
  synchronize(stream);
  Event().synchronize();
  run_ranks(2, [](Communicator&) { Event().synchronize(); });
  EXPECT_EQ(host_waits() - before, (HostWaits{.events = 1, .streams = 1}));
}

TEST(HostWaits, OfAStep) {
  RunConfig without = tiny_run(), on_host = tiny_run();
  without.model.engram.layers = {};
  on_host.parallel.table_placement = TablePlacement::kHost;
  HostWaits with_host_tables = test::kWaitsAmongRanks;
  with_host_tables.streams = test::kStreamsOfHostTables;
  for (const int num_ranks : {1, 2}) {
    run_ranks(num_ranks, [&](Communicator& world) {
      expect_waits(tiny_run(), world, test::kWaitsAmongRanks);
      expect_waits(without, world, test::kWaitsWithoutMemory);
      expect_waits(on_host, world, with_host_tables);
    });
  }
}

TEST(HostWaits, OfAStepWhoseExpertsAreShared) {
  RunConfig config = tiny_run();
  config.model.num_layers = 3;  // two mixtures
  config.parallel.expert = 2;
  config.parallel.expert_headroom = 4;
  for (const bool recompute : {false, true}) {
    config.train.recompute = recompute;
    HostWaits wanted = test::kWaitsAmongRanks;
    wanted.streams = 2 * 2 * (recompute ? 2 : 1);  // of two micro-batches on each rank
    run_ranks(2, [&](Communicator& world) { expect_waits(config, world, wanted); });
  }
}

// For the counts of its rows, which ranks tell each other first.
TEST(HostWaits, OfTwoMixturesInForwardAndBackward) {
  RunConfig config = tiny_run();
  config.model.engram.layers = {};
  config.model.num_layers = 3;
  config.parallel.expert = 2;
  config.parallel.expert_headroom = 4;
  for (const bool recompute : {false, true}) {
    config.train.recompute = recompute;
    run_ranks(2, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32);
      Replica& r = tiny.replica;
      const MicroBatch batch = test::prepared_step(r).batch.micro_batch(0, 1);
      Context ctx = r.context(1, config.data.seq_len);
      LanguageModel::Saved saved;
      const HostWaits begin = host_waits();
      const Tensor hidden = r.model.forward(ctx, batch, saved);
      const HostWaits after_forward = host_waits();
      const Tensor losses = r.arena.take("losses", DType::kFloat32, {ctx.num_tokens()});
      r.model.backward(ctx, r.model.loss(ctx, hidden, batch.targets, {}, losses), batch, saved);
      EXPECT_EQ(after_forward - begin, HostWaits{.streams = 2});
      EXPECT_EQ(host_waits() - after_forward, HostWaits{.streams = recompute ? 2 : 0});
    });
  }
}

}  // namespace
}  // namespace engram
