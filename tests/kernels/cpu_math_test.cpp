#include "kernels/cpu_math.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/cpu_gemm.h"
#include "tests/ulps.h"

namespace engram {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(CpuMathTest, ExpIsWithinTwoUlpOverTheWholeRange) {
  double worst = 0;
  for (uint32_t word = 0; word < 0xff000000u; word += 4099) {
    const float x = std::bit_cast<float>(word);
    if (x >= -103.0f && x <= 88.7f) worst = std::max(worst, test::ulps(fast_exp(x), std::exp(double{x})));
  }
  EXPECT_LT(worst, 1.1);
}

TEST(CpuMathTest, ExpKeepsTheEndsOfTheRange) {
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-0.0f), 1.0f);
  EXPECT_EQ(fast_exp(88.8f), kInfinity);
  EXPECT_EQ(fast_exp(kInfinity), kInfinity);
  EXPECT_EQ(fast_exp(-104.0f), 0.0f);
  EXPECT_EQ(fast_exp(-kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(CpuMathTest, SigmoidMatchesDoubleAndItsLimits) {
  for (float x = -87.0f; x < 87.0f; x += 0.37f) {
    const double want = fast_sigmoid(double{x});
    EXPECT_NEAR(fast_sigmoid(x) / want, 1, 4e-7) << x;
  }
  EXPECT_EQ(fast_sigmoid(kInfinity), 1.0f);
  EXPECT_EQ(fast_sigmoid(-kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(fast_sigmoid(std::numeric_limits<float>::quiet_NaN())));
}

TEST(CpuMathTest, LaneSumVisitsEachElementOnce) {
  for (const int64_t count : {0, 1, 31, 32, 33, 64, 101}) {
    EXPECT_EQ(lane_sum<double>(count, [](int64_t i) { return double(i + 1); }), double(count * (count + 1) / 2));
  }
}

TEST(CpuMathTest, LaneMaxFindsTheLargestWhereverItStands) {
  EXPECT_EQ(lane_max<float>(0, -kInfinity, [](int64_t) { return 1.0f; }), -kInfinity);
  for (int64_t largest = 0; largest < 70; ++largest) {
    EXPECT_EQ(lane_max<float>(70, -kInfinity, [&](int64_t i) { return i == largest ? -2.0f : -3.0f; }), -2.0f);
  }
}

TEST(CpuGemmTest, StridesLeaveTheGapsAlone) {
  // Three columns of c out of rows of five; a and b are cut out of wider rows, too.
  const double a[] = {1, 2, -9, 3, 4, -9}, b[] = {1, 0, 2, -9, 0, 1, 3, -9};
  double c[] = {NAN, NAN, NAN, 7, 7, NAN, NAN, NAN, 7, 7};
  gemm(Gemm<double>{
      .m = 2, .n = 3, .k = 2, .a = a, .a_stride = 3, .b = b, .b_stride = 4, .c = c, .c_stride = 5, .alpha = 10});
  const double want[] = {10, 20, 80, 7, 7, 30, 40, 180, 7, 7};
  for (int i = 0; i < 10; ++i) EXPECT_EQ(c[i], want[i]) << i;
}

TEST(CpuGemmTest, AnEmptyInnerSizeScalesTheResult) {
  float c[] = {1, 2, 7, 3, 4, 7};
  gemm(Gemm<float>{.m = 2, .n = 2, .k = 0, .c = c, .c_stride = 3, .beta = 2});
  const float doubled[] = {2, 4, 7, 6, 8, 7};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(c[i], doubled[i]) << i;
  c[0] = NAN;
  gemm(Gemm<float>{.m = 2, .n = 2, .k = 0, .c = c, .c_stride = 3});
  const float zeroed[] = {0, 0, 7, 0, 0, 7};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(c[i], zeroed[i]) << i;
}

}  // namespace
}  // namespace engram
