#include "kernels/global_norm.h"

#include <limits>

#include "tests/testing.h"

namespace engram {
namespace {

struct GlobalNormTest : test::CpuFixture {
  double of(const Tensor& x) {
    const Tensor total = test::constant_tensor(arena, 0.0, {1});
    sum_of_squares(stream, x, total);
    return test::element(total, 0);
  }
};

TEST_F(GlobalNormTest, MatchesTheSumInLongDouble) {
  for (const int64_t count : {0, 1, 31, 32, 33, 1001}) {
    const Tensor x = test::random_tensor<float>(arena, 1, {count}), wide = test::to_double(arena, x);
    long double want = 0;
    for (int64_t i = 0; i < count; ++i) want += static_cast<long double>(test::element(x, i)) * test::element(x, i);
    EXPECT_NEAR(of(x), static_cast<double>(want), 1e-14 * static_cast<double>(want)) << count;
    EXPECT_EQ(of(x), of(wide)) << count;  // float elements are squared and added in double
  }
}

TEST_F(GlobalNormTest, ReachesPastTheRangeAndPrecisionOfFloat) {
  EXPECT_NEAR(of(test::constant_tensor(arena, 1e30f, {3})) / 3e60, 1, 1e-6);
  const Tensor x = test::constant_tensor(arena, 0x1p-13f, {int64_t{1} << 20});
  test::set_element(x, 0, 1024);  // in float, no small square would move a sum of 2^20
  EXPECT_EQ(of(x), 0x1p20 + ((int64_t{1} << 20) - 1) * 0x1p-26);
}

TEST_F(GlobalNormTest, AddsToTheTotal) {
  const Tensor x = test::tensor_of<float>(arena, {3, 4}, {1, 2}), total = test::constant_tensor(arena, 100.0, {1});
  sum_of_squares(stream, x, total);
  EXPECT_EQ(test::element(total, 0), 125);
  sum_of_squares(stream, x, total);
  EXPECT_EQ(test::element(total, 0), 150);
}

TEST_F(GlobalNormTest, NonFiniteElementsReachTheTotal) {
  const Tensor x = test::constant_tensor(arena, 1.0f, {77});
  test::set_element(x, 70, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isinf(of(x)));
  test::set_element(x, 3, NAN);
  EXPECT_TRUE(std::isnan(of(x)));
}

TEST_F(GlobalNormTest, RefusesATotalInFloat) {
  const Tensor x = test::constant_tensor(arena, 1.0f, {7}), total = test::constant_tensor(arena, 0.0f, {1});
  const std::string message = test::error_of([&] { sum_of_squares(stream, x, total); });
  EXPECT_NE(message.find("total: got float32 [1], wanted float64 [1]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
