#pragma once

#include <atomic>
#include <cstdint>

namespace engram {

// What the main thread of a rank is at, for others to see (heartbeat.h). Written by that thread, read by any.
class Pulse {
 public:
  struct State {
    int64_t step = 0;       // of the training, 0 outside of steps
    int64_t num_waits = 0;  // begun so far: in collectives the same on all ranks
    bool waits = false;
  };

  // While it lives, the rank waits for its peers or its device.
  class Wait {
   public:
    explicit Wait(Pulse& pulse) : pulse_(pulse) {
      ++pulse_.num_waits_;
      pulse_.waits_ = true;
    }
    ~Wait() { pulse_.waits_ = false; }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

   private:
    Pulse& pulse_;
  };

  // What follows is this step of the training, counted from 1, which takes about as long as the others.
  void begin_step(int64_t step) { step_ = step; }
  // What follows may take any time.
  void rest() { step_ = 0; }
  State state() const { return {.step = step_, .num_waits = num_waits_, .waits = waits_}; }

  // After how many seconds a rank that should have been heard, or seen to move, counts as lost; 0 = never, as until
  // the first call.
  void set_limit(double seconds) { limit_seconds_ = seconds; }
  double limit_seconds() const { return limit_seconds_; }

 private:
  std::atomic<int64_t> step_ = 0, num_waits_ = 0;
  std::atomic<bool> waits_ = false;
  std::atomic<double> limit_seconds_ = 0;
};

}  // namespace engram
