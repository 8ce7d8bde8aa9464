#include "kernels/step_control.h"

#include <limits>

#include "kernels/update_control.h"
#include "tests/testing.h"

namespace engram {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

struct StepControlTest : test::CpuFixture {
  // Control after one decision, from one with 2 applied updates and otherwise odd numbers.
  std::vector<double> decide(const std::vector<double>& sums, const StepControlOptions& options) {
    const Tensor control = test::tensor_of<double>(arena, {1, 0.7, 2, 0.3, 1, 0.8, 2, 0.3}, {2, kNumUpdateControls});
    step_control(stream, test::tensor_of(arena, sums, {3}),
                 test::tensor_of<double>(arena, ratios, {std::ssize(ratios)}), options, guard, control);
    const auto values = host_span<double>(control);
    return {values.begin(), values.end()};
  }
  // Whether a step with that loss and that norm is a spike.
  bool is_spike(double loss, double norm, const StepControlOptions& options = {}) {
    decide({loss, 0, norm * norm}, options);
    return host_span<double>(guard)[1] != 0;
  }
  // As many steps as the guard looks back on: losses 2 and 4 in turn, norms 10 and 14.
  void fill_guard() {
    for (int64_t i = 0; i < kSpikeWindow; ++i) EXPECT_FALSE(is_spike(i % 2 == 0 ? 2 : 4, i % 2 == 0 ? 10 : 14));
  }
  std::vector<double> ratios{0.25, 0.5, 0.75, 1.0};
  const Tensor guard = test::constant_tensor(arena, 0.0, {kSpikeGuard});
};

TEST_F(StepControlTest, ClipsByOneNormOrByTwo) {
  const double both = 1.0 / (5 + 1e-6);
  EXPECT_EQ(decide({2, 9, 16}, {.clip_norm = 1}), (std::vector<double>{1, both, 3, 0.75, 1, both, 3, 0.75}));
  EXPECT_EQ(decide({2, 9, 16}, {.clip_norm = 1, .separate = true}),
            (std::vector<double>{1, 1.0 / (3 + 1e-6), 3, 0.75, 1, 1.0 / (4 + 1e-6), 3, 0.75}));
  EXPECT_EQ(decide({2, 9, 16}, {.clip_norm = 3.5, .separate = true}),
            (std::vector<double>{1, 1, 3, 0.75, 1, 3.5 / (4 + 1e-6), 3, 0.75}));
  EXPECT_EQ(decide({2, 9, 16}, {.clip_norm = 0}), (std::vector<double>{1, 1, 3, 0.75, 1, 1, 3, 0.75}));
}

TEST_F(StepControlTest, TheScheduleEndsWithItsLastValue) {
  for (const auto& [num_ratios, want] : {std::pair{4, 0.75}, {3, 0.75}, {2, 0.5}, {1, 0.25}}) {
    ratios.resize(static_cast<size_t>(num_ratios));
    EXPECT_EQ(decide({1, 1, 1}, {})[3], want);
  }
}

TEST_F(StepControlTest, WhatIsNotFiniteRefusesTheStepAndKeepsTheRest) {
  const std::vector<double> kept{0, 0.7, 2, 0.3, 0, 0.8, 2, 0.3};
  const double huge = std::numeric_limits<double>::max();
  for (const std::vector<double>& sums :
       {std::vector<double>{kNan, 1, 1}, {kInfinity, 1, 1}, {1, kNan, 1}, {1, 1, kInfinity}, {1, huge, huge}}) {
    for (const bool separate : {true, false}) EXPECT_EQ(decide(sums, {.clip_norm = 1, .separate = separate}), kept);
  }
}

TEST_F(StepControlTest, ALossOrANormFarOverTheLastOnesIsASpike) {
  fill_guard();  // loss 3 +- 1, norm 12 +- 2
  EXPECT_FALSE(is_spike(8.9, 23.9));
  EXPECT_FALSE(is_spike(-1e6, 0));
}

TEST_F(StepControlTest, ASpikeIsRecordedAsTheLimitThatItPassed) {
  fill_guard();
  EXPECT_TRUE(is_spike(9.1, 12));
  EXPECT_DOUBLE_EQ(host_span<double>(guard)[2], 9);  // 3 + 6 * 1
  EXPECT_TRUE(is_spike(3, 1e100));
  EXPECT_LT(host_span<double>(guard)[2 + kSpikeWindow + 1], 25);
  EXPECT_TRUE(is_spike(1e300, 12));  // the first ones hide no other
}

TEST_F(StepControlTest, ALastingChangeIsAcceptedInTheEnd) {
  fill_guard();
  int num_spikes = 0;
  while (is_spike(20, 12)) ++num_spikes;
  EXPECT_GT(num_spikes, 2);
  EXPECT_LT(num_spikes, 30);
}

TEST_F(StepControlTest, NothingIsASpikeBeforeTheGuardIsFull) {
  for (int64_t i = 0; i < kSpikeWindow - 1; ++i) is_spike(3, 12);
  EXPECT_FALSE(is_spike(1e6, 1e6));
}

TEST_F(StepControlTest, SkipsASpikeWhereAsked) {
  const std::vector<double> kept{0, 0.7, 2, 0.3, 0, 0.8, 2, 0.3};
  fill_guard();
  EXPECT_EQ(decide({9.1, 0, 1}, {.skip_spikes = true}), kept);
  EXPECT_EQ(decide({9.5, 0, 1}, {}), (std::vector<double>{1, 1, 3, 0.75, 1, 1, 3, 0.75}));
  EXPECT_EQ(decide({9.5, 0, 1}, {.spike_sigma = 20, .skip_spikes = true})[0], 1);
}

TEST_F(StepControlTest, TheGuardDoesNotRecordWhatIsNotFinite) {
  fill_guard();
  const std::vector<double> before(host_span<double>(guard).begin(), host_span<double>(guard).end());
  EXPECT_FALSE(is_spike(kNan, 1));
  EXPECT_FALSE(is_spike(1, kInfinity));
  EXPECT_EQ(std::vector<double>(host_span<double>(guard).begin(), host_span<double>(guard).end()), before);
}

TEST_F(StepControlTest, RefusesWhatDoesNotFit) {
  ratios.clear();
  EXPECT_NE(test::error_of([&] { decide({1, 1, 1}, {}); }).find("got no lr_ratios"), std::string::npos);
  ratios = {1};
  const Tensor control = test::constant_tensor(arena, 0.0, {2, kNumUpdateControls});
  const Tensor few = test::constant_tensor(arena, 0.0, {2});
  const std::string message = test::error_of([&] { step_control(stream, few, few, {}, guard, control); });
  EXPECT_NE(message.find("sums: got float64 [2], wanted float64 [3]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
