#include "kernels/convert.h"

#include <limits>

#include "tests/testing.h"

namespace engram {
namespace {

struct ConvertTest : test::CpuFixture {
  Tensor narrow(const std::vector<float>& values) {
    const Tensor y = arena.take("y", DType::kBFloat16, {std::ssize(values)});
    convert(stream, test::tensor_of(arena, values, {std::ssize(values)}), y);
    return y;
  }
};

TEST_F(ConvertTest, RoundsToNearestEven) {
  const Tensor y = narrow({1.0f, 1.00390625f, 1.01171875f, 1.004f, -3e38f, 3.4e38f, 1e-40f});
  const std::vector<uint16_t> want{0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xff62, 0x7f80, 0x0001};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(host_span<bfloat16>(y)[i].bits, want[i]) << i;
  EXPECT_TRUE(std::isnan(static_cast<float>(host_span<bfloat16>(narrow({std::nanf("")}))[0])));
}

TEST_F(ConvertTest, ThereAndBackKeepsEveryBit) {
  for (const int64_t count : {0, 1, 37}) {
    const Tensor x = test::random_tensor<float>(arena, 3, {count}), wide = arena.take("wide", DType::kFloat32, {count});
    const Tensor y = arena.take("y", DType::kBFloat16, {count}), again = arena.take("y", DType::kBFloat16, {count});
    convert(stream, x, y);
    convert(stream, y, wide);
    convert(stream, wide, again);
    EXPECT_TRUE(test::same_bits(y, again));
    EXPECT_LE(test::relative_error(wide, x), 3e-3);
  }
}

TEST_F(ConvertTest, RefusesWhatDoesNotFit) {
  const Tensor x = test::random_tensor<float>(arena, 3, {4}), y = arena.take("y", DType::kBFloat16, {3});
  EXPECT_NE(test::error_of([&] { convert(stream, x, y); }).find("y: got bfloat16 [3], wanted bfloat16 [4]"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { convert(stream, x, x); }).find("y: got float32 [4], wanted bfloat16 [4]"),
            std::string::npos);
}

}  // namespace
}  // namespace engram
