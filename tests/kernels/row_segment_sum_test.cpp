#include "kernels/row_segment_sum.h"

#include "kernels/row_gather.h"
#include "tests/kernels/row_segments_testing.h"

namespace engram {
namespace {

using test::relative_error;
using RowSegmentSumTest = test::CpuFixture;

TEST_F(RowSegmentSumTest, IsTheGradientOfGather) {
  for (const int64_t width : {1, 37}) {
    const Tensor rows = test::random_tensor<double>(arena, 1, {5, width});
    const Tensor index = test::tensor_of<int64_t>(arena, {4, 0, -1, 4, 2, 4}, {6});
    const Tensor dout = test::random_tensor<double>(arena, 2, {6, width});
    const Tensor drows = arena.take("drows", DType::kFloat64, {5, width});
    row_segment_sum(stream, dout, test::segments_of(arena, index, 5), drows);
    const auto loss = [&] {
      Arena::Scope scope(arena);
      const Tensor out = arena.take("out", DType::kFloat64, {6, width});
      row_gather(stream, rows, index, out);
      return test::dot(dout, out);
    };
    EXPECT_LT(relative_error(drows, test::numeric_gradient(arena, rows, loss)), 1e-9);
  }
}

TEST_F(RowSegmentSumTest, AddsInAscendingOrder) {
  // In float, (1e8 + 1) + 1 is 1e8 but 1e8 + (1 + 1) is not; -1e8 last tells the orders apart.
  const Tensor values = test::tensor_of<float>(arena, {1e8f, 1, 1, -1e8f}, {4, 1});
  const Tensor index = test::tensor_of<int64_t>(arena, {0, 0, 0, 0}, {4});
  const Tensor sums = arena.take("sums", DType::kFloat32, {2, 1});
  row_segment_sum(stream, values, test::segments_of(arena, index, 2), sums);
  EXPECT_TRUE(test::same_bits(sums, test::tensor_of<float>(arena, {0, 0}, {2, 1})));
}

TEST_F(RowSegmentSumTest, FloatMatchesDouble) {
  const Tensor values = test::random_tensor<float>(arena, 1, {6, 13});
  const RowSegments segments = test::segments_of(arena, test::tensor_of<int64_t>(arena, {3, 1, 0, 3, 2, 3}, {6}), 4);
  const Tensor sums = arena.take("sums", DType::kFloat32, {4, 13}), wide = arena.take("wide", DType::kFloat64, {4, 13});
  row_segment_sum(stream, values, segments, sums);
  row_segment_sum(stream, test::to_double(arena, values), segments, wide);
  EXPECT_LT(relative_error(sums, wide), 1e-6);
}

TEST_F(RowSegmentSumTest, RefusesTensorsThatDoNotFit) {
  const Tensor values = arena.take("values", DType::kFloat32, {4, 3});
  const Tensor index = test::tensor_of<int64_t>(arena, {0, 1, 1, 0}, {4});
  const RowSegments segments = test::segments_of(arena, index, 2);
  const auto message = [&](const Tensor& sums) {
    return test::error_of([&] { row_segment_sum(stream, values, segments, sums); });
  };
  const std::string of_type = message(arena.take("sums", DType::kFloat64, {2, 3}));
  EXPECT_NE(of_type.find("sums: got float64 [2, 3], wanted float32 [-1, 3]"), std::string::npos) << of_type;
  const std::string of_rows = message(arena.take("sums", DType::kFloat32, {3, 3}));
  EXPECT_NE(of_rows.find("offsets: got int32 [3], wanted int32 [4]"), std::string::npos) << of_rows;
}

TEST_F(RowSegmentSumTest, NoValuesGiveZeros) {
  const RowSegments none = test::segments_of(arena, test::tensor_of<int64_t>(arena, {}, {0}), 2);
  const Tensor sums = arena.take("sums", DType::kFloat32, {2, 3});
  row_segment_sum(stream, arena.take("values", DType::kFloat32, {0, 3}), none, sums);
  EXPECT_TRUE(test::same_bits(sums, test::constant_tensor(arena, 0.0f, {2, 3})));
}

}  // namespace
}  // namespace engram
