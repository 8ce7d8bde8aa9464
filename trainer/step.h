#pragma once

#include "trainer/replica.h"
#include "trainer/requests.h"
#include "trainer/step_report.h"

namespace engram {

// The first sample of the global batch of a step, counted from 1; and this rank's part of that batch.
int64_t first_sample(const Replica& replica, int64_t step);
Batch load_batch(const Replica& replica, const BatchLoader& loader, int64_t step);

// A batch on its way to the device, with the plan of its rows. It must be finished before the next one is begun, and
// given to train_step() before the next one is finished:
//
//   PreparedStep next = begin_prepare(replica, first batch);
//   for each step:
//     PreparedStep prepared = next;
//     finish_prepare(replica, prepared);                 // begun a step ago: the host waits for nothing
//     next = begin_prepare(replica, batch of the step after this one);
//     PendingReport report = train_step(replica, prepared);
struct PreparedStep {
  StepBatch batch;
  StepInput* input = nullptr;
  double seconds_plan = 0;  // of the host
};

// Uploads this rank's part of a global batch and finds the addresses of its rows, and which of them are distinct.
// Depends on tokens alone: on CUDA it goes through a stream of its own, under steps that were issued, and the host
// waits for nothing of the last two of them.
PreparedStep begin_prepare(Replica& replica, const Batch& local_batch);
// Plans who owns and who wants them. Collective. Waits for what was begun.
void finish_prepare(Replica& replica, PreparedStep& prepared);

// What a rank tells the others with a step.
struct RankNotes {
  Request request = Request::kNone;
  int64_t save_work = 0;  // CheckpointSaver::num_ended()
};

// Issues one optimizer step over a prepared global batch: fetch, forward and backward, reduce, norm and clip or skip,
// update, report. Collective. A non-finite loss or norm on any rank skips the update on all and leaves every bit of
// parameters and state as it was. On CUDA the host waits for nothing but, on several ranks, the count of own rows,
// which was queued before the step. The report tells every rank what the others noted.
PendingReport train_step(Replica& replica, const PreparedStep& prepared, const RankNotes& notes = {});

// Forward and backward of one micro-batch: adds to all gradients, scaled by grad_scale, and to loss_sum [1] float64.
void run_micro_batch(const LanguageModel& model, Context& ctx, const MicroBatch& batch, double grad_scale,
                     const Tensor& loss_sum);

}  // namespace engram
