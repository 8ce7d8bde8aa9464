#include "kernels/row_gather.h"

#include "tests/testing.h"

namespace engram {
namespace {

using RowGatherTest = test::CpuFixture;

TEST_F(RowGatherTest, RowsMoveBitForBitAndMinusOneGivesZeros) {
  for (const int64_t width : {1, 37}) {
    const Tensor rows = test::random_tensor<float>(arena, 1, {5, width});
    const std::vector<int64_t> wanted{4, 0, -1, 4, 2, 0};
    const Tensor index = test::tensor_of<int64_t>(arena, wanted, {6});
    const Tensor out = arena.take("out", DType::kFloat32, {6, width});
    row_gather(stream, rows, index, out);
    for (int64_t i = 0; i < 6; ++i) {
      const int64_t row = wanted[static_cast<size_t>(i)];
      const Tensor want = row < 0 ? test::constant_tensor(arena, 0.0f, {1, width}) : rows.rows(row, 1);
      EXPECT_TRUE(test::same_bits(out.rows(i, 1), want)) << i;
    }
  }
}

TEST_F(RowGatherTest, RoundsFloatToBfloat16) {
  const Tensor rows = test::random_tensor<float>(arena, 1, {5, 37});
  const Tensor index = test::tensor_of<int64_t>(arena, {3, -1, 3}, {3});
  const Tensor out = arena.take("out", DType::kBFloat16, {3, 37});
  row_gather(stream, rows, index, out);
  const auto got = host_span<bfloat16>(out);
  for (int64_t i = 0; i < out.numel(); ++i) {
    const float value = i / 37 == 1 ? 0.0f : static_cast<float>(test::element(rows, 3 * 37 + i % 37));
    EXPECT_EQ(got[static_cast<size_t>(i)].bits, bfloat16(value).bits) << i;
  }
}

TEST_F(RowGatherTest, EmptySizesWork) {
  const Tensor rows = arena.take("rows", DType::kFloat64, {0, 3}), none = arena.take("index", DType::kInt64, {0});
  row_gather(stream, rows, none, arena.take("out", DType::kFloat64, {0, 3}));
  const Tensor dead = test::tensor_of<int64_t>(arena, {-1}, {1}), out = arena.take("out", DType::kFloat64, {1, 3});
  row_gather(stream, rows, dead, out);
  EXPECT_TRUE(test::same_bits(out, test::constant_tensor(arena, 0.0, {1, 3})));
}

TEST_F(RowGatherTest, RefusesTensorsThatDoNotFit) {
  const Tensor rows = arena.take("rows", DType::kFloat32, {2, 3}), index = arena.take("index", DType::kInt64, {4});
  const Tensor out = arena.take("out", DType::kFloat32, {4, 2});
  const std::string message = test::error_of([&] { row_gather(stream, rows, index, out); });
  EXPECT_NE(message.find("out: got float32 [4, 2], wanted float32 [4, 3]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
