#include "kernels/core/device.h"
#include "tests/trainer/checkpoint_testing.h"

namespace engram {
namespace {

using test::TemporaryDirectory;
using test::tiny_identity;
using test::TinyReplica;

// The CPU computes nothing in bfloat16, but holds, stores and loads such a model.
void expect_rounded(Replica& narrow, Replica& wide) {
  for (Replica* each : {&narrow, &wide}) each->await_weights();
  const auto got = host_span<bfloat16>(narrow.store.values());
  const auto want = host_span<float>(wide.store.values());
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i].bits, bfloat16(want[i]).bits) << i;
}

TEST(MasterCopy, StartsFromTheUnroundedInitialValues) {
  for (const int num_ranks : {1, 3}) {
    RunConfig config = test::tiny_run();
    config.train.global_batch = num_ranks;
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica narrow(config, world, DType::kBFloat16), wide(config, world, DType::kFloat32);
      EXPECT_TRUE(test::same_bits(narrow.replica.zero_groups.front().own_weights(),
                                  wide.replica.zero_groups.front().own_weights()));
      expect_rounded(narrow.replica, wide.replica);
    });
  }
}

TEST(MasterCopy, CheckpointsAreTheSameInEveryPrecision) {
  const TemporaryDirectory first, second;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica wide(test::tiny_run(), world, DType::kFloat32), narrow(test::tiny_run(), world, DType::kBFloat16),
        again(test::tiny_run(), world, DType::kFloat32);
    test::made_up_steps(wide.replica, 3);
    save_checkpoint(wide.replica, tiny_identity(), first.path());
    load_checkpoint(narrow.replica, tiny_identity(), first / "step-00000003", LoadScope::kResume);
    EXPECT_TRUE(test::same_bits(narrow.replica.zero_groups.front().own_weights(),
                                wide.replica.zero_groups.front().own_weights()));
    expect_rounded(narrow.replica, wide.replica);
    save_checkpoint(narrow.replica, tiny_identity(), second.path());
    load_checkpoint(again.replica, tiny_identity(), second / "step-00000003", LoadScope::kResume);
    EXPECT_TRUE(test::bits_of(again.replica) == test::bits_of(wide.replica));
  });
}

TEST(MasterCopy, AnUpdateWritesItAndTheRoundedValues) {
  Stream stream = CpuQueue{};
  Arena arena(Device::kCpu, 1 << 20, /*poison=*/true);
  constexpr int64_t kSize = 64;
  DenseOptimizer narrow(stream, {}, DType::kBFloat16, kSize), wide(stream, {}, DType::kFloat32, kSize);
  const Tensor rounded = test::constant_tensor(arena, bfloat16(0.0f), {kSize}),
               values = test::constant_tensor(arena, 0.0f, {kSize});
  const Tensor grads = test::random_tensor<float>(arena, 1, {kSize});
  for (int64_t step = 1; step <= 3; ++step) {
    const Tensor control = test::tensor_of<double>(arena, {1, 1, static_cast<double>(step), 1}, {4});
    narrow.update(stream, control, rounded, grads);
    wide.update(stream, control, values, grads);
  }
  EXPECT_TRUE(test::same_bits(narrow.weights(rounded), values));
  for (size_t i = 0; i < kSize; ++i) {
    EXPECT_EQ(host_span<bfloat16>(rounded)[i].bits, bfloat16(host_span<float>(values)[i]).bits);
  }
}

}  // namespace
}  // namespace engram
