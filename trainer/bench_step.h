#pragma once

#include "parallel/communicator.h"
#include "trainer/cli.h"

namespace engram {

// `engram bench step`: times training steps on random tokens (Zipf-distributed, so that rows repeat as in text) or on
// the store of the configuration, and the matrix product of the same run, all ranks at once. Prints the rates, what
// the step reaches of the product's, memory, and with --profile the time of each op; --json adds a line to a file.
void run_bench_step(Communicator& world, const BenchStepCommand& command);

}  // namespace engram
