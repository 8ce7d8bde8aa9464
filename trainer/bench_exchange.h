#pragma once

#include "parallel/communicator.h"
#include "trainer/cli.h"

namespace engram {

// `engram bench exchange`: the exchange of rows between the ranks, each of which asks for other random rows: making the
// plan, fetch and gradient return, of both what goes over the wire alone, and what would where no rank removed
// duplicates. Bytes are those of a rank to others, in one direction; beside them stands an all-to-all of equal bytes in
// the same run. Collective.
void run_bench_exchange(Communicator& world, const BenchRowsOptions& options);

}  // namespace engram
