#include "parallel/heartbeat.h"

#include <gtest/gtest.h>

#include <chrono>
#include <latch>

#include "kernels/core/device_info.h"
#include "parallel/thread_communicator.h"

namespace engram {
namespace {

using namespace std::chrono_literals;

constexpr int kRanks = 3;

// A rank whose thread still speaks while its work stands still: the real sockets carry what it is at.
TEST(HeartbeatTest, NamesTheRankThatIsStuck) {
  std::latch found(1);
  std::string problem;
  run_ranks(kRanks, [&](Communicator& world) {
    Pulse pulse;
    pulse.set_limits({.silence_seconds = world.rank() == 0 ? 6.0 : 60.0});  // rank 0 alone counts the time
    const auto end_job = [&](const std::string& what) {
      problem = what;
      found.count_down();
    };
    const Heartbeat heartbeat(world, pulse, {.tick_seconds = 0.01, .end_job = end_job});
    pulse.begin_step(1);
    std::this_thread::sleep_for(100ms);
    pulse.begin_step(2);
    const auto waiting = world.rank() == 1 ? nullptr : std::make_unique<Pulse::Wait>(pulse);
    found.wait();
  });
  EXPECT_NE(problem.find("the others wait for rank 1 on " + host_name().substr(0, 63) + ", which is stuck"),
            std::string::npos)
      << problem;
}

TEST(HeartbeatTest, APeerThatFailsAtTheEndIsAnError) {
  const auto fail_on_one = [](Communicator& world) {
    const Pulse pulse;
    Heartbeat heartbeat(world, pulse, {.tick_seconds = 0.01, .end_job = [](const std::string&) {}});
    if (world.rank() == 1) throw Error("of rank 1");
    EXPECT_THROW(heartbeat.finish(), PeerFailed);
  };
  EXPECT_THROW(run_ranks(kRanks, fail_on_one), Error);
}

}  // namespace
}  // namespace engram
