#include "trainer/bench_ops.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/trainer/tiny_run.h"

namespace engram {
namespace {

// Every op of the table runs on the tensors that it takes, which are as many bytes dry as in earnest.
TEST(BenchOps, EveryOpRunsAtTheSizesOfAConfiguration) {
  RunConfig config = test::tiny_run();
  config.model.engram.conv = true;
  std::set<std::string> names;
  for (const BenchOp& op : bench_op_table(config)) {
    EXPECT_TRUE(names.insert(op.name).second) << op.name;
    Stream dry_stream = DryQueue{}, stream = CpuQueue{};
    Arena dry = Arena::dry();
    OpInputs sizes(dry_stream, dry, config, DType::kFloat32);
    op.make(sizes);
    Arena arena(Device::kCpu, dry.peak_bytes());
    OpInputs inputs(stream, arena, config, DType::kFloat32);
    const auto call = op.make(inputs);
    EXPECT_NO_THROW(call()) << op.name;
    EXPECT_GT(inputs.num_bytes(), 0) << op.name;
    EXPECT_EQ(arena.peak_bytes(), dry.peak_bytes()) << op.name;
    EXPECT_EQ(inputs.flops > 0, op.name.find("matmul") != std::string::npos || op.name.starts_with("attention_"))
        << op.name;
  }
  EXPECT_GT(names.size(), 40u);
}

TEST(BenchOps, LeavesOutWhatAModelHasNot) {
  RunConfig config = test::tiny_run();
  config.model.engram.layers = {};
  config.model.moe.num_experts = 0;
  for (const BenchOp& op : bench_op_table(config)) {
    EXPECT_EQ(op.name.find("expert"), std::string::npos) << op.name;
    EXPECT_EQ(op.name.find("engram"), std::string::npos) << op.name;
  }
}

}  // namespace
}  // namespace engram
