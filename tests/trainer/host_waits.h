#pragma once

#include <ostream>

#include "tests/trainer/tiny_run.h"
#include "trainer/compute.h"

// How often the host waits for a device.
namespace engram::test {

// Calls that block the host until a device has come so far. On the CPU they are made as well, and wait for nothing.
struct HostWaits {
  int64_t events = 0;   // Event::synchronize(): for what was queued until then, which may be long done
  int64_t streams = 0;  // synchronize(stream): for all, after which the device has nothing to do

  bool operator==(const HostWaits&) const = default;
  HostWaits operator-(const HostWaits& other) const {
    return {.events = events - other.events, .streams = streams - other.streams};
  }
};

inline std::ostream& operator<<(std::ostream& out, const HostWaits& waits) {
  return out << waits.events << " for events, " << waits.streams << " for streams";
}

// Those of the calling thread until now, which in a test is a rank.
HostWaits host_waits();

// Those of each of num_steps steps as training takes them, once nothing is new any more.
inline std::vector<HostWaits> waits_of_steps(Replica& r, int64_t num_steps) {
  constexpr int64_t kFirst = 4;  // all three inputs are in use
  std::vector<HostWaits> steps;
  HostWaits before;
  pipelined_losses(r, kFirst + num_steps, [&](int64_t step) {
    const HostWaits now = host_waits();
    if (step > kFirst) steps.push_back(now - before);
    before = now;
  });
  return steps;
}

// A steady step waits for the report of the step before, for its rows to be counted, and for host memory of two and
// three steps ago to be free; where ranks return gradients to one another, for its own rows to be counted. It waits for
// no stream but where experts are shared: once for each mixture and micro-batch.
inline constexpr HostWaits kWaitsWithoutMemory{.events = 3};
inline constexpr HostWaits kWaitsAlone{.events = 4};
inline constexpr HostWaits kWaitsAmongRanks{.events = 5};
// Tables in host memory besides: for the slots of its own rows, and for the rows that it writes back.
inline constexpr int64_t kStreamsOfHostTables = 2;

inline void expect_waits(const RunConfig& config, Communicator& world, const HostWaits& wanted) {
  constexpr int64_t kSteps = 3;
  TinyReplica tiny(config, world, model_dtype(config));
  EXPECT_EQ(waits_of_steps(tiny.replica, kSteps), std::vector<HostWaits>(kSteps, wanted));
}

}  // namespace engram::test
