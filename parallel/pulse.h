#pragma once

#include <atomic>
#include <cstdint>

namespace engram {

// What the main thread of a rank is at, for others to see (heartbeat.h). Written by that thread, read by any.
class Pulse {
 public:
  enum class Place : uint8_t { kStartUp, kValidation, kSave };
  struct State {
    int64_t step = 0;               // of the training, 0 outside of steps
    Place place = Place::kStartUp;  // where it is outside of them
    int64_t num_waits = 0;          // begun so far: in collectives the same on all ranks
    bool waits = false;

    bool operator==(const State&) const = default;
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
  // What follows may take any time that others need not wait for.
  void rest(Place place) {
    place_ = place;
    step_ = 0;
  }
  State state() const { return {.step = step_, .place = place_, .num_waits = num_waits_, .waits = waits_}; }

  struct Limits {
    double silence_seconds = 0;  // of a rank that should be heard, and of a step at least; 0 = no limits at all
    double wait_seconds = 600;   // of the others for a rank that is outside of steps
  };
  // None until the first call.
  void set_limits(const Limits& limits) {
    wait_seconds_ = limits.wait_seconds;
    silence_seconds_ = limits.silence_seconds;
  }
  Limits limits() const { return {.silence_seconds = silence_seconds_, .wait_seconds = wait_seconds_}; }

 private:
  std::atomic<int64_t> step_ = 0, num_waits_ = 0;
  std::atomic<Place> place_ = Place::kStartUp;
  std::atomic<bool> waits_ = false;
  std::atomic<double> silence_seconds_ = 0, wait_seconds_ = 600;
};

}  // namespace engram
