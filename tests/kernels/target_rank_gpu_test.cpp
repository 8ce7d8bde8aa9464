#include "kernels/target_rank.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct TargetRankGpuTest : test::GpuFixture {
  void compare(DType dtype, int64_t num_rows, int64_t vocabulary) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor logits = test::random_tensor<double>(host, 1, {num_rows, vocabulary});
    const Tensor targets = host.take("targets", DType::kInt32, {num_rows});
    for (int64_t i = 0; i < num_rows; ++i) {
      host_span<int32_t>(targets)[static_cast<size_t>(i)] = static_cast<int32_t>(i * 977 % vocabulary);
    }
    const Tensor ranks = poisoned(DType::kInt64, {num_rows}), want = host.take("ranks", DType::kInt64, {num_rows});
    target_rank(stream, upload(logits, dtype), to_device(targets), ranks);
    target_rank(cpu, rounded(logits, dtype), targets, want);
    EXPECT_TRUE(test::same_bits(to_host(ranks), want)) << num_rows << " x " << vocabulary;
  }
};

TEST_F(TargetRankGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_rows : {0, 1, 8}) {
      for (const int64_t vocabulary : {1, 255, 257, 40000}) compare(dtype, num_rows, vocabulary);
    }
  }
}

}  // namespace
}  // namespace engram
