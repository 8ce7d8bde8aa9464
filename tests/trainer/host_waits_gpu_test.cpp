#include "tests/trainer/host_waits.h"

#include "tests/parallel/forwarding_communicator.h"
#include "tests/trainer/gpu_run.h"

namespace engram {
namespace {

using test::expect_waits;
using test::gpu_run;
using test::HostWaits;
using test::on_cuda;
using test::without_memory;

struct HostWaitsGpuTest : test::TrainGpuTest {};

// Ranks that are threads, each with a card of its own.
struct Cards final : test::ForwardingCommunicator {
  using ForwardingCommunicator::ForwardingCommunicator;
  int local_rank() const override { return rank(); }
};

TEST_F(HostWaitsGpuTest, OfAStep) {
  SelfCommunicator world;
  expect_waits(on_cuda(gpu_run()), world, test::kWaitsAlone);
  expect_waits(on_cuda(without_memory(gpu_run())), world, test::kWaitsWithoutMemory);
  RunConfig on_host = on_cuda(gpu_run());
  on_host.parallel.table_placement = TablePlacement::kHost;
  HostWaits with_host_tables = test::kWaitsAlone;
  with_host_tables.streams = test::kStreamsOfHostTables;
  expect_waits(on_host, world, with_host_tables);
}

TEST_F(HostWaitsGpuTest, OfAStepOfTwoRanks) {
  if (num_cuda_devices() < 2) GTEST_SKIP() << "fewer than two CUDA devices";
  RunConfig shared = on_cuda(gpu_run());  // two mixtures, one micro-batch on each rank
  shared.parallel.expert = 2;
  shared.parallel.expert_headroom = 4;
  HostWaits wanted = test::kWaitsAmongRanks;
  wanted.streams = 2;
  run_ranks(2, [&](Communicator& threads) {
    Cards world(threads);
    expect_waits(on_cuda(gpu_run()), world, test::kWaitsAmongRanks);
    expect_waits(shared, world, wanted);
  });
}

}  // namespace
}  // namespace engram
