#include "trainer/requests.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "parallel/self_communicator.h"
#include "tests/data/temporary_directory.h"
#include "tests/parallel/ranks.h"
#include "tests/testing.h"

namespace engram {
namespace {

constexpr Request kAll[] = {Request::kNone, Request::kSave, Request::kPreempt, Request::kStop};

TEST(Requests, TheStrongestOfAllRanksIsReadOffTheSum) {
  for (const Request a : kAll) {
    for (const Request b : kAll) {
      for (const double others : {0.0, 1000.0}) {  // ranks that were asked to save
        const double sum = weight_of(a) + weight_of(b) + others * weight_of(Request::kSave);
        const Request strongest = std::max({a, b, others > 0 ? Request::kSave : Request::kNone});
        EXPECT_EQ(strongest_in(sum), strongest);
      }
    }
  }
}

TEST(Requests, ASignalSetsAFlagAndAnInterruptOutranksTheOthers) {
  const RequestSignals signals;
  EXPECT_EQ(signalled(), Request::kNone);
  for (const int signal : {SIGTERM, SIGUSR2, SIGTERM}) {
    ::raise(signal);
    EXPECT_EQ(signalled(), Request::kPreempt);
  }
  ::raise(SIGINT);
  EXPECT_EQ(signalled(), Request::kStop);
  ::raise(SIGTERM);
  EXPECT_EQ(signalled(), Request::kStop);
}

TEST(RequestsDeathTest, TheSecondInterruptEndsTheProcess) {
  const auto interrupt_twice = [] {
    const RequestSignals signals;
    ::raise(SIGINT);
    ::raise(SIGINT);
  };
  EXPECT_EXIT(interrupt_twice(), ::testing::ExitedWithCode(128 + SIGINT), "");
}

TEST(RequestsDeathTest, GivenBackASignalThatCameBeforeStillCounts) {
  const auto give_back = [] {
    RequestSignals signals;
    ::raise(SIGTERM);
    signals.give_back();
  };
  EXPECT_EXIT(give_back(), ::testing::KilledBySignal(SIGTERM), "");
}

TEST(Requests, RankZeroAloneLooksForFilesAndAllRanksLeaveTogether) {
  const RequestSignals signals;
  const test::TemporaryDirectory directory;
  test::write_file(directory / "SAVE", "");
  run_ranks(3, [&](Communicator& world) {
    const Requests requests(world, directory.path());
    EXPECT_EQ(requests.poll(), world.rank() == 0 ? Request::kSave : Request::kNone);
    EXPECT_NO_THROW(requests.leave_if_asked());
    if (world.rank() == 0) test::write_file(directory / "STOP", "");
    EXPECT_THROW(requests.leave_if_asked(), Interrupted);
    requests.fulfilled(Request::kStop);
    EXPECT_NO_THROW(requests.leave_if_asked());
  });
  EXPECT_TRUE(std::filesystem::exists(directory / "SAVE"));
  EXPECT_FALSE(std::filesystem::exists(directory / "STOP"));
}

}  // namespace
}  // namespace engram
