#pragma once

#include "parallel/communicator.h"
#include "trainer/cli.h"

namespace engram {

// `engram bench table`: the stages of the row path on one rank and the whole of it, on random rows and gradients, each
// beside a copy of equal bytes in the same run. Bytes are the least that a stage can move, each row of a table in whole
// pieces of 64 bytes; --json adds a line for each stage to a file.
void run_bench_table(Communicator& world, const BenchTableCommand& command);

}  // namespace engram
