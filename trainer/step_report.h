#pragma once

#include <chrono>

#include "trainer/step_state.h"

namespace engram {

// What one step did; the same on every rank but for the times.
struct StepReport {
  int64_t step = 0;  // counted from 1
  double loss = 0;   // nats per token of the global batch
  double norm = 0;   // of the gradient, before clipping
  double lr = 0;     // of the dense part; 0 where the step was skipped
  bool skipped = false;
  double experts_max_over_mean = 0;  // of the worst layer; 0 without experts
  double experts_dead = 0;           // share of experts without a token
  double unique_rows = 0;            // distinct over requested rows, mean of the ranks; 0 without memory
  double mean_gate = 0;              // of all Engram gates; 0 without memory
  // Wall time: on the CPU that of this step's own work, on CUDA that since the end of the step before was seen, or
  // since the step was issued where that is later. And of the host's time on this rank:
  double seconds = 0;
  double seconds_exchange = 0;  // plan, wait for rows, gradient return
  double seconds_reduce = 0;    // dense gradients and values
};

// The report of a step that was issued and may still run. To be waited for before the step after the next is issued.
class [[nodiscard]] PendingReport {
 public:
  using Clock = std::chrono::steady_clock;

  // `known` is what the host knows already; seen: when a report was last waited for, which wait() sets.
  PendingReport(const RunConfig& config, StepState::PendingValues values, const StepReport& known,
                Clock::time_point& seen)
      : config_(&config), values_(std::move(values)), report_(known), seen_(&seen), issued_(Clock::now()) {}

  bool is_ready() const { return values_.is_ready(); }  // never blocks
  StepReport wait();

 private:
  const RunConfig* config_;
  StepState::PendingValues values_;
  StepReport report_;
  Clock::time_point* seen_;
  Clock::time_point issued_;
};

}  // namespace engram
