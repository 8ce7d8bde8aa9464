#pragma once

#include "parallel/communicator.h"
#include "parallel/pulse.h"
#include "trainer/cli.h"

namespace engram {

// `engram train`: goes on from the newest checkpoint of the run, if there is one, and trains to train.steps with
// validation, metrics, progress and checkpoints, or until it is asked to leave or gives up on its numbers: returns the
// exit code. The pulse shows which step is under way. Collective; rank 0 prints and writes metrics.
int run_train(Communicator& world, Pulse& pulse, const TrainCommand& command);

}  // namespace engram
