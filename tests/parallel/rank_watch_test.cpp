#include "parallel/rank_watch.h"

#include <gtest/gtest.h>

#include <optional>

namespace engram {
namespace {

constexpr double kTick = 0.5, kLimit = 30;
constexpr int kTicksOfLimit = 60;
constexpr Pulse::Limits kLimits{.silence_seconds = kLimit, .wait_seconds = 600};
const std::vector<std::string> kHosts{"a", "b", "c", "d"};

// Whether some of `count` ticks in the same step are late.
bool becomes_late(StepClock& clock, int64_t step, int count) {
  bool late = false;
  for (int i = 0; i < count; ++i) late |= clock.is_late(step, kLimit);
  return late;
}

TEST(StepClockTest, LetsTheFirstStepTakeTenMinutes) {
  StepClock clock(kTick);
  EXPECT_FALSE(becomes_late(clock, 1, 1200));
  EXPECT_TRUE(becomes_late(clock, 1, 3));
}

TEST(StepClockTest, ComparesWithTheLimitWhereStepsAreShort) {
  StepClock clock(kTick);
  EXPECT_FALSE(becomes_late(clock, 1, 1));
  EXPECT_FALSE(becomes_late(clock, 2, kTicksOfLimit));
  EXPECT_TRUE(becomes_late(clock, 2, 3));
}

TEST(StepClockTest, ComparesWithFiveStepsWhereTheyAreLong) {
  StepClock clock(kTick);
  EXPECT_FALSE(becomes_late(clock, 1, 41));  // 20 seconds
  EXPECT_FALSE(becomes_late(clock, 2, 200));
  EXPECT_TRUE(becomes_late(clock, 2, 3));
}

TEST(StepClockTest, ForgetsALongStepSlowly) {
  StepClock clock(kTick);
  becomes_late(clock, 1, 401);  // 200 seconds
  for (int64_t step = 2; step < 100; ++step) becomes_late(clock, step, 1);
  EXPECT_TRUE(becomes_late(clock, 100, kTicksOfLimit + 3));
}

TEST(StepClockTest, NeitherLimitsNorMeasuresARest) {
  StepClock clock(kTick);
  becomes_late(clock, 1, 1);
  becomes_late(clock, 2, 1);
  EXPECT_FALSE(becomes_late(clock, 0, 10000));
  EXPECT_FALSE(becomes_late(clock, 3, 1));
  EXPECT_TRUE(becomes_late(clock, 3, kTicksOfLimit + 3));
}

// Ticks until something is wrong, at most `count`; every rank of `speaking` is heard before each.
std::optional<std::string> tick(RankWatch& watch, const RankWatch::Sign& own, int count,
                                std::initializer_list<std::pair<int, RankWatch::Sign>> speaking) {
  for (int i = 0; i < count; ++i) {
    for (const auto& [rank, sign] : speaking) watch.hear(rank, sign);
    if (const std::string problem = watch.tick(own.state, kLimits); !problem.empty()) return problem;
  }
  return std::nullopt;
}

constexpr RankWatch::Sign kWaiting{.state = {.step = 7, .num_waits = 5, .waits = true}};
constexpr RankWatch::Sign kWorking{.state = {.step = 7, .num_waits = 4, .waits = false}};

TEST(RankWatchTest, NamesTheSilentRankAndItsHost) {
  RankWatch watch(kHosts, 0, kTick);
  EXPECT_EQ(tick(watch, kWaiting, 5, {{1, kWaiting}, {2, kWorking}, {3, kWaiting}}), std::nullopt);
  EXPECT_EQ(tick(watch, kWaiting, kTicksOfLimit - 2, {{1, kWaiting}, {3, kWaiting}}), std::nullopt);
  EXPECT_EQ(tick(watch, kWaiting, 1, {{1, kWaiting}, {3, kWaiting}}),
            "rank 2 on c has given no sign of life for 30 seconds (parallel.silence_seconds): its process is stopped, "
            "in step 7, or its machine or the way to it is gone");
}

TEST(RankWatchTest, SaysWhereARankWasNeverHeard) {
  RankWatch watch(kHosts, 0, kTick);
  EXPECT_EQ(tick(watch, kWaiting, kTicksOfLimit, {{1, kWaiting}, {2, kWaiting}}),
            "rank 3 on d has given no sign of life for 30 seconds (parallel.silence_seconds): it never did; UDP "
            "datagrams must pass between it and rank 0 on a");
}

TEST(RankWatchTest, OthersWatchRankZeroAlone) {
  for (const int own : {1, 3}) {
    RankWatch watch(kHosts, own, kTick);
    EXPECT_EQ(tick(watch, kWaiting, 1000, {{0, kWorking}}), std::nullopt) << own;
    const int later = own == 1 ? 0 : 4;  // rank 1 tells it first
    EXPECT_EQ(tick(watch, kWaiting, kTicksOfLimit - 2 + later, {}), std::nullopt) << own;
    const std::optional<std::string> problem = tick(watch, kWaiting, 1, {});
    ASSERT_TRUE(problem.has_value()) << own;
    EXPECT_EQ(problem->find("rank 0 on a has given no sign of life"), 0u) << *problem;
  }
}

// One step that ends, and one that does not.
std::optional<std::string> stay_in_step(RankWatch& watch, const RankWatch::Sign& own,
                                        std::initializer_list<std::pair<int, RankWatch::Sign>> others) {
  watch.tick({.step = 6}, kLimits);
  return tick(watch, own, kTicksOfLimit + 3, others);
}

TEST(RankWatchTest, NamesTheRankThatTheOthersWaitFor) {
  RankWatch watch(kHosts, 0, kTick);
  EXPECT_EQ(stay_in_step(watch, kWaiting, {{1, kWaiting}, {2, kWaiting}, {3, kWorking}}),
            "step 7 takes more than parallel.silence_seconds and than five steps: the others wait for rank 3 on d, "
            "which is stuck");
}

TEST(RankWatchTest, TakesAPeersWordForALateStep) {
  RankWatch watch(kHosts, 0, kTick);
  RankWatch::Sign late = kWaiting;
  late.is_late = true;
  EXPECT_EQ(tick(watch, kWorking, 1, {{1, late}, {2, kWaiting}, {3, kWaiting}}),
            "step 7 takes more than parallel.silence_seconds and than five steps: the others wait for rank 0 on a, "
            "which is stuck");
}

TEST(RankWatchTest, NamesTheRankThatDoesNotLeaveACollectiveThatTheOthersHaveLeft) {
  RankWatch watch(kHosts, 0, kTick);
  RankWatch::Sign before = kWaiting;
  before.state.num_waits = 4;
  const auto problem = stay_in_step(watch, kWaiting, {{1, kWaiting}, {2, before}, {3, kWaiting}});
  ASSERT_TRUE(problem.has_value());
  EXPECT_NE(problem->find("the others wait for rank 2 on c"), std::string::npos) << *problem;
}

TEST(RankWatchTest, SaysThatAllCompute) {
  RankWatch watch(kHosts, 0, kTick);
  const auto problem = stay_in_step(watch, kWorking, {{1, kWorking}, {2, kWorking}, {3, kWorking}});
  ASSERT_TRUE(problem.has_value());
  EXPECT_NE(problem->find("no rank waits for another"), std::string::npos) << *problem;
}

TEST(RankWatchTest, SaysWhereAllWait) {
  RankWatch watch(kHosts, 0, kTick);
  const auto problem = stay_in_step(watch, kWaiting, {{1, kWaiting}, {2, kWaiting}, {3, kWaiting}});
  ASSERT_TRUE(problem.has_value());
  EXPECT_NE(problem->find("all ranks wait at the same place"), std::string::npos) << *problem;
}

TEST(RankWatchTest, LetsARankRestThatTheOthersWaitFor) {
  RankWatch watch(kHosts, 0, kTick);
  const RankWatch::Sign resting{.state = {.step = 0, .num_waits = 4}};
  EXPECT_EQ(stay_in_step(watch, kWaiting, {{1, kWaiting}, {2, resting}, {3, kWaiting}}), std::nullopt);
}

TEST(RankWatchTest, NamesTheRankThatTheOthersWaitForOutsideOfSteps) {
  using Place = Pulse::Place;
  for (const auto& [place, name] :
       {std::pair{Place::kStartUp, "start-up"}, {Place::kValidation, "validation"}, {Place::kSave, "a save"}}) {
    RankWatch watch(kHosts, 0, kTick);
    const RankWatch::Sign waiting{.state = {.place = place, .num_waits = 5, .waits = true}};
    RankWatch::Sign working{.state = {.place = place, .num_waits = 4}};
    EXPECT_EQ(tick(watch, waiting, 1000, {{1, waiting}, {2, working}, {3, waiting}}), std::nullopt);
    working.state.waits = true;  // it moves, and has as long again
    EXPECT_EQ(tick(watch, waiting, 1200, {{1, waiting}, {2, working}, {3, waiting}}), std::nullopt);
    EXPECT_EQ(tick(watch, waiting, 2, {{1, waiting}, {2, working}, {3, waiting}}),
              "for 600 seconds (parallel.timeout_seconds) the others wait for rank 2 on c, which is stuck in " +
                  std::string(name));
  }
}

TEST(RankWatchTest, LetsAllRestAsLongAsTheyLike) {
  RankWatch watch(kHosts, 0, kTick);
  const RankWatch::Sign resting{.state = {.num_waits = 4}};
  EXPECT_EQ(tick(watch, resting, 10000, {{1, resting}, {2, resting}, {3, resting}}), std::nullopt);
}

TEST(RankWatchTest, AcceptsAllWithoutALimit) {
  RankWatch watch(kHosts, 0, kTick);
  for (int i = 0; i < 10000; ++i) EXPECT_EQ(watch.tick(kWaiting.state, {.silence_seconds = 0}), "");
}

}  // namespace
}  // namespace engram
