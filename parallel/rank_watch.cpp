#include "parallel/rank_watch.h"

#include <fmt/format.h>

#include <algorithm>

namespace engram {
namespace {

const char* name_of(Pulse::Place place) {
  switch (place) {
    case Pulse::Place::kStartUp:
      return "start-up";
    case Pulse::Place::kValidation:
      return "validation";
    case Pulse::Place::kSave:
      return "a save";
  }
  return "";
}

}  // namespace

bool StepClock::is_late(int64_t step, double limit_seconds) {
  constexpr double kSteps = 5, kFading = 0.9;
  const double seconds = static_cast<double>(num_ticks_) * tick_seconds_;
  if (step == step_) {
    ++num_ticks_;
    return step != 0 && seconds > std::max(limit_seconds, kSteps * longest_seconds_);
  }
  if (step_ != 0 && step != 0) {  // it ended, and not in a rest
    longest_seconds_ = has_ended_ ? std::max(seconds, kFading * longest_seconds_) : seconds;
    has_ended_ = true;
  }
  step_ = step;
  num_ticks_ = 0;
  return false;
}

RankWatch::RankWatch(std::vector<std::string> hosts, int own_rank, double tick_seconds)
    : own_rank_(static_cast<size_t>(own_rank)), tick_seconds_(tick_seconds), clock_(tick_seconds) {
  for (size_t r = 0; r < hosts.size(); ++r) ranks_.push_back({.name = fmt::format("rank {} on {}", r, hosts[r])});
}

void RankWatch::hear(int rank, const Sign& sign) {
  Rank& peer = ranks_.at(static_cast<size_t>(rank));
  see(peer, sign);
  peer.silent_ticks = 0;
  peer.was_heard = true;
}

void RankWatch::see(Rank& rank, const Sign& sign) {
  if (sign.state != rank.sign.state) still_ticks_ = 0;
  rank.sign = sign;
}

std::string RankWatch::tick(const Pulse::State& own, const Pulse::Limits& limits) {
  see(ranks_[own_rank_], {.state = own, .is_late = clock_.is_late(own.step, limits.silence_seconds)});
  for (Rank& rank : ranks_) ++rank.silent_ticks;
  ++still_ticks_;
  if (limits.silence_seconds == 0) return "";
  if (std::string silent = find_silent(limits.silence_seconds); !silent.empty()) return silent;
  return own_rank_ == 0 ? find_stuck(limits.wait_seconds) : "";
}

std::string RankWatch::find_silent(double limit_seconds) const {
  constexpr double kForTheFirst = 2;  // rank 1 tells first what all ranks find out about rank 0
  const double seconds = limit_seconds + (own_rank_ > 1 ? kForTheFirst : 0);
  const size_t end = own_rank_ == 0 ? ranks_.size() : 1;
  for (size_t r = 0; r < end; ++r) {
    const Rank& rank = ranks_[r];
    if (r == own_rank_ || static_cast<double>(rank.silent_ticks) * tick_seconds_ < seconds) continue;
    const std::string what = fmt::format(
        "{} has given no sign of life for {:g} seconds (parallel.silence_seconds): ", rank.name, limit_seconds);
    if (!rank.was_heard) return what + "it never did; UDP datagrams must pass between it and " + ranks_[own_rank_].name;
    const std::string where = rank.sign.state.step == 0 ? "" : fmt::format(", in step {}", rank.sign.state.step);
    return what + "its process is stopped" + where + ", or its machine or the way to it is gone";
  }
  return "";
}

std::string RankWatch::find_stuck(double wait_seconds) const {
  const auto is_behind = [](const Rank& a, const Rank& b) {
    const Pulse::State &x = a.sign.state, &y = b.sign.state;
    return x.num_waits != y.num_waits ? x.num_waits < y.num_waits : y.waits && !x.waits;
  };
  const auto [last, first] = std::minmax_element(ranks_.begin(), ranks_.end(), is_behind);
  if (last->sign.state.step == 0) {
    if (!is_behind(*last, *first) || static_cast<double>(still_ticks_) * tick_seconds_ <= wait_seconds) return "";
    return fmt::format("for {:g} seconds (parallel.timeout_seconds) the others wait for {}, which is stuck in {}",
                       wait_seconds, last->name, name_of(last->sign.state.place));
  }
  const auto late = std::find_if(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.sign.is_late; });
  if (late == ranks_.end()) return "";
  const std::string what =
      fmt::format("step {} takes more than parallel.silence_seconds and than five steps: ", late->sign.state.step);
  if (!is_behind(*last, *first)) {
    return what + (last->sign.state.waits ? "all ranks wait at the same place, for each other or for their devices"
                                          : "no rank waits for another, all compute");
  }
  return what + "the others wait for " + last->name + ", which is stuck";
}

}  // namespace engram
