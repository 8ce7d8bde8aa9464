#include "kernels/sum.h"

#include "tests/testing.h"

namespace engram {
namespace {

struct SumTest : test::CpuFixture {};

TEST_F(SumTest, AddsInDoubleToWhatIsThere) {
  // 2^24 + 1 is not a float: a float sum would lose every one of the small terms.
  const Tensor x = test::tensor_of<float>(arena, {16777216.0f, 1.0f, 1.0f, 1.0f, -0.5f}, {5});
  const Tensor total = test::constant_tensor(arena, 3.0, {1});
  sum(stream, x, total);
  EXPECT_EQ(test::element(total, 0), 16777216.0 + 2.5 + 3.0);
  sum(stream, arena.take("none", DType::kFloat64, {0}), total);
  EXPECT_EQ(test::element(total, 0), 16777216.0 + 2.5 + 3.0);
}

TEST_F(SumTest, RefusesAFloatTotal) {
  const Tensor x = test::constant_tensor(arena, 1.0f, {2}), total = test::constant_tensor(arena, 0.0f, {1});
  EXPECT_NE(test::error_of([&] { sum(stream, x, total); }).find("sum: total: got float32 [1]"), std::string::npos);
}

}  // namespace
}  // namespace engram
