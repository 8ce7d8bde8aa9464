#include "kernels/core/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace engram {
namespace {

float rounded(float value, uint16_t random) { return static_cast<float>(round_stochastically(value, random)); }

TEST(RoundStochastically, GoesUpAsOftenAsTheValueIsNear) {
  for (const float sign : {1.0f, -1.0f}) {
    const float value = sign * (1.0f + 3 * 0x1p-9f);  // three quarters of the way to 1 + 0x1p-7
    int64_t num_up = 0;
    for (int64_t random = 0; random < 65536; ++random) {
      const float got = rounded(value, static_cast<uint16_t>(random));
      ASSERT_TRUE(got == sign || got == sign * (1 + 0x1p-7f)) << got;
      num_up += got != sign;
    }
    EXPECT_EQ(num_up, 3 * 65536 / 4);
  }
}

TEST(RoundStochastically, WhatBFloat16HasStays) {
  for (const float value : {0.0f, -0.0f, 1.0f, -1.5f, 0x1p-126f, 0x1p-133f, 0x1.fep127f}) {
    for (const uint16_t random : {0, 1, 0xffff}) {
      EXPECT_EQ(std::bit_cast<uint32_t>(rounded(value, random)), std::bit_cast<uint32_t>(value));
    }
  }
}

TEST(RoundStochastically, NothingBecomesInfiniteAndNothingInfiniteBecomesFinite) {
  constexpr float kMost = std::numeric_limits<float>::max(), kInfinity = std::numeric_limits<float>::infinity();
  for (const uint16_t random : {0, 0xffff}) {
    EXPECT_EQ(rounded(kMost, random), 0x1.fep127f);
    EXPECT_EQ(rounded(-kMost, random), -0x1.fep127f);
    EXPECT_EQ(rounded(kInfinity, random), kInfinity);
    EXPECT_EQ(rounded(-kInfinity, random), -kInfinity);
    EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001u), random)));
  }
}

}  // namespace
}  // namespace engram
