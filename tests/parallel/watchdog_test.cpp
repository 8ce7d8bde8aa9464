#include "parallel/watchdog.h"

#include <gtest/gtest.h>

#include <atomic>

#include "kernels/core/check.h"

namespace engram {
namespace {

using namespace std::chrono_literals;

// Calls condition() until it holds; false where it does not for ten seconds.
bool becomes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

std::string failure_of(Watchdog& watchdog) {
  try {
    watchdog.check();
  } catch (const PeerFailed& error) {
    return error.what();
  }
  return "";
}

// What a watchdog did, and one whose clocks run fast.
struct Job {
  std::atomic<bool> is_stopped = false, has_ended = false;
  std::string last_words;  // to be read once has_ended
  WatchdogOptions options{.timeout_seconds = 0.1,
                          .grace_seconds = 30,
                          .poll_seconds = 0.005,
                          .stop_work = [this] { is_stopped = true; },
                          .end_job =
                              [this](const std::string& message) {
                                last_words = message;
                                has_ended = true;
                              }};
};

TEST(WatchdogTest, LetsWorkPassThatEnds) {
  Job job;
  job.options.timeout_seconds = 30;
  Watchdog watchdog(job.options);
  std::atomic<int> num_asked = 0;
  for (int i = 0; i < 3; ++i) watchdog.watch("work", [&] { return ++num_asked > 3; });
  EXPECT_TRUE(becomes_true([&] { return num_asked > 5; }));
  EXPECT_EQ(failure_of(watchdog), "");
  EXPECT_FALSE(job.is_stopped);
}

TEST(WatchdogTest, NamesTheOldestWorkThatDoesNotEnd) {
  Job job;
  Watchdog watchdog(job.options);
  watchdog.watch("the first", [] { return true; });
  watchdog.watch("the second", [] { return false; });
  watchdog.watch("the third", [] { return true; });
  EXPECT_TRUE(becomes_true([&] { return !failure_of(watchdog).empty(); }));
  EXPECT_EQ(failure_of(watchdog).find("the second has not ended for 0 seconds (parallel.timeout_seconds)"), 0u);
  EXPECT_TRUE(becomes_true([&] { return job.is_stopped.load(); }));
  EXPECT_FALSE(job.has_ended);  // the thread that asked is there to do it
}

TEST(WatchdogTest, EndsTheJobWhereNobodyComes) {
  Job job;
  job.options.grace_seconds = 0.05;
  Watchdog watchdog(job.options);
  watchdog.watch("work", [] { return false; });
  ASSERT_TRUE(becomes_true([&] { return job.has_ended.load(); }));
  EXPECT_TRUE(job.is_stopped);
  EXPECT_EQ(job.last_words.find("work has not ended"), 0u);
}

TEST(WatchdogTest, TellsWhatWorkThrowsAndWhatIsFound) {
  Job job;
  Watchdog throwing(job.options);
  throwing.watch("the copy", []() -> bool { throw Error("no such device"); });
  EXPECT_TRUE(becomes_true([&] { return failure_of(throwing) == "the copy: no such device"; }));

  std::atomic<bool> is_wrong = false;
  Job other;
  other.options.find_problem = [&] { return std::string(is_wrong ? "a link is down" : ""); };
  Watchdog asking(other.options);
  EXPECT_EQ(failure_of(asking), "");
  is_wrong = true;
  EXPECT_TRUE(becomes_true([&] { return failure_of(asking) == "a link is down"; }));
}

}  // namespace
}  // namespace engram
