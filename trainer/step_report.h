#pragma once

#include "trainer/requests.h"
#include "trainer/step_state.h"

namespace engram {

// What one step did; the same on every rank but for the times.
struct StepReport {
  int64_t step = 0;  // counted from 1
  double loss = 0;   // nats per token of the global batch
  double norm = 0;   // of the gradient, before clipping
  double lr = 0;     // of the dense part; 0 where the step was skipped
  bool skipped = false;
  bool is_spike = false;             // kernels/step_control.h
  double experts_max_over_mean = 0;  // of the worst layer; 0 without experts
  double experts_dead = 0;           // share of experts without a token
  double unique_rows = 0;            // distinct over requested rows, mean of the ranks; 0 without memory
  double num_unique_rows = 0;        // distinct rows of each rank, summed over the ranks
  double exchanged_bytes = 0;        // that ranks sent one another to exchange rows
  double imbalance = 0;              // of the rows that ranks served: standard deviation over mean
  double mean_gate = 0;              // of all Engram gates; 0 without any
  double min_gate = 0;               // the mean of the Engram layer where it is least
  double max_gate = 0;               // and of that where it is most
  Request request = Request::kNone;  // the strongest of all ranks
  double save_work = 0;              // pieces of work on checkpoints that have ended, of all ranks
  // The host's time on this rank:
  double seconds_exchange = 0;  // plan, wait for rows, gradient return
  double seconds_reduce = 0;    // dense gradients and values
};

// The report of a step that was issued and may still run. To be waited for before the step after the next is issued.
class [[nodiscard]] PendingReport {
 public:
  // `known` is what the host knows already.
  PendingReport(const RunConfig& config, int num_ranks, StepState::PendingValues values, const StepReport& known)
      : config_(&config), num_ranks_(num_ranks), values_(values), report_(known) {}

  StepReport wait();

 private:
  const RunConfig* config_;
  int num_ranks_;
  StepState::PendingValues values_;
  StepReport report_;
};

}  // namespace engram
