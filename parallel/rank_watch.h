#pragma once

#include <string>
#include <vector>

#include "parallel/pulse.h"

namespace engram {

// Tells a step that is stuck from one that is slow. Time is counted in ticks.
class StepClock {
 public:
  explicit StepClock(double tick_seconds) : tick_seconds_(tick_seconds) {}

  // One more tick, during which `step` is under way (0: none). Whether it takes longer than the limit and than five
  // times the longest of the steps before it; the first one is compared with one of two minutes.
  bool is_late(int64_t step, double limit_seconds);

 private:
  double tick_seconds_;
  double longest_seconds_ = 120;  // of the steps that ended, the older the less it counts
  int64_t step_ = 0;              // under way for
  int64_t num_ticks_ = 0;
  bool has_ended_ = false;
};

// What one rank knows about the others of a job, and when it gives one of them up. Rank 0 watches all, the others watch
// rank 0. Time is counted in ticks of the watching process: time in which that is stopped itself does not count.
class RankWatch {
 public:
  // What a rank tells: how it is, and whether its step is late.
  struct Sign {
    Pulse::State state;
    bool is_late = false;
  };

  // The machine of each rank.
  RankWatch(std::vector<std::string> hosts, int own_rank, double tick_seconds);

  // A sign of life of a peer.
  void hear(int rank, const Sign& sign);

  // One more tick. Returns what is wrong: a peer that has been silent for limits.silence_seconds, or a step that is
  // late, or others that have waited for a rank outside of steps for limits.wait_seconds, with the rank that they wait
  // for; "" where nothing is, or the first limit is 0.
  std::string tick(const Pulse::State& own, const Pulse::Limits& limits);

  // How this rank is, as of the last tick.
  const Sign& own() const { return ranks_[own_rank_].sign; }

 private:
  struct Rank {
    std::string name;  // "rank 3 on HOST"
    Sign sign = {};
    int64_t silent_ticks = 0;
    bool was_heard = false;
  };

  void see(Rank& rank, const Sign& sign);
  std::string find_silent(double limit_seconds) const;
  std::string find_stuck(double wait_seconds) const;

  size_t own_rank_;
  double tick_seconds_;
  StepClock clock_;
  int64_t still_ticks_ = 0;  // since any rank was seen to move
  std::vector<Rank> ranks_;
};

}  // namespace engram
