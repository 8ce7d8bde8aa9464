#include "kernels/row_segment_sum.h"

#include "kernels/row_gather.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;
using RowSegmentSumTest = test::CpuFixture;

TEST_F(RowSegmentSumTest, IsTheGradientOfGather) {
  for (const int64_t width : {1, 37}) {
    const Tensor rows = test::random_tensor<double>(arena, 1, {5, width});
    const Tensor index = test::tensor_of<int64_t>(arena, {4, 0, -1, 4, 2, 4}, {6});
    const Tensor dout = test::random_tensor<double>(arena, 2, {6, width});
    const Tensor drows = test::constant_tensor(arena, 0.0, {5, width});
    row_segment_sum(stream, dout, index, drows);
    const auto loss = [&] {
      Arena::Scope scope(arena);
      const Tensor out = arena.take("out", DType::kFloat64, {6, width});
      row_gather(stream, rows, index, out);
      return test::dot(dout, out);
    };
    EXPECT_LT(relative_error(drows, test::numeric_gradient(arena, rows, loss)), 1e-9);
  }
}

TEST_F(RowSegmentSumTest, AddsInAscendingOrderToWhatIsThere) {
  // In float, (1e8 + 1) + 1 is 1e8 but 1e8 + (1 + 1) is not; -1e8 last tells the orders apart.
  const Tensor values = test::tensor_of<float>(arena, {1, 1, -1e8f}, {3, 1});
  const Tensor sums = test::tensor_of<float>(arena, {1e8f, 5}, {2, 1});
  row_segment_sum(stream, values, test::tensor_of<int64_t>(arena, {0, 0, 0}, {3}), sums);
  EXPECT_TRUE(test::same_bits(sums, test::tensor_of<float>(arena, {0, 5}, {2, 1})));
}

TEST_F(RowSegmentSumTest, TwiceAddsExactlyTwiceAndFloatMatchesDouble) {
  const Tensor values = test::random_tensor<float>(arena, 1, {4, 13});
  const Tensor index = test::tensor_of<int64_t>(arena, {3, 1, 0, 2}, {4});
  const Tensor sums = test::constant_tensor(arena, 0.0f, {4, 13}), wide = test::constant_tensor(arena, 0.0, {4, 13});
  row_segment_sum(stream, values, index, sums);
  const Tensor once = test::clone(arena, sums);
  row_segment_sum(stream, values, index, sums);
  for (int64_t i = 0; i < sums.numel(); ++i) EXPECT_EQ(test::element(sums, i), 2 * test::element(once, i));
  row_segment_sum(stream, test::to_double(arena, values), index, wide);
  EXPECT_LT(relative_error(once, wide), 1e-6);
}

TEST_F(RowSegmentSumTest, RefusesTensorsThatDoNotFit) {
  const Tensor values = arena.take("values", DType::kFloat32, {4, 3}), index = arena.take("index", DType::kInt64, {4});
  const Tensor sums = arena.take("sums", DType::kFloat64, {2, 3}), none = arena.take("index", DType::kInt64, {0});
  const std::string message = test::error_of([&] { row_segment_sum(stream, values, index, sums); });
  EXPECT_NE(message.find("sums: got float64 [2, 3], wanted float32 [-1, 3]"), std::string::npos) << message;
  row_segment_sum(stream, values.rows(0, 0), none, arena.take("sums", DType::kFloat32, {0, 3}));
}

}  // namespace
}  // namespace engram
