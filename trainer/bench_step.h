#pragma once

#include "parallel/communicator.h"
#include "trainer/cli.h"

namespace engram {

// `engram bench step`: times training steps on random tokens (Zipf-distributed, so that rows repeat as in text) and the
// matrix product of the same run, all ranks at once; prints their ratio and the share of the step spent in exchange.
void run_bench_step(Communicator& world, const BenchStepCommand& command);

}  // namespace engram
