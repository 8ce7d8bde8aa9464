#pragma once

#include "trainer/replica.h"

namespace engram {

// What one step did; the same on every rank.
struct StepReport {
  int64_t step = 0;  // counted from 1
  double loss = 0;   // nats per token of the global batch
  double norm = 0;   // of the gradient, before clipping
  double lr = 0;     // of the dense part
  bool skipped = false;
  double experts_max_over_mean = 0;  // of the worst layer; 0 without experts
  double experts_dead = 0;           // share of experts without a token
  double unique_rows = 0;            // distinct over requested rows, mean of the ranks; 0 without memory
  double mean_gate = 0;              // of all Engram gates; 0 without memory
  double seconds = 0;                // wall time, and of it, on this rank:
  double seconds_exchange = 0;       // plan, wait for rows, gradient return
  double seconds_reduce = 0;         // dense gradients and values
};

// This rank's part of the global batch of the replica's next step.
Batch next_batch(const Replica& replica, const BatchLoader& loader);

// One optimizer step over a global batch, of which `local_batch` is this rank's part: addresses, fetch, forward and
// backward, reduce, norm and clip or skip, update, report. Collective. A non-finite loss or norm on any rank skips the
// update on all and leaves every bit of parameters and state as it was.
StepReport train_step(Replica& replica, const Batch& local_batch);

// Forward and backward of one micro-batch: adds to all gradients, scaled by grad_scale, and to loss_sum [1] float64.
void run_micro_batch(const LanguageModel& model, Context& ctx, const MicroBatch& batch, double grad_scale,
                     const Tensor& loss_sum);

}  // namespace engram
