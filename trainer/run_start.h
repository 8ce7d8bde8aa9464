#pragma once

#include "trainer/checkpoint.h"

namespace engram {

// How `engram train` begins: from the newest intact checkpoint of the run; where it has none, from the weights of
// run.init_from, or as it was made. Rank 0 prints which. Collective. Throws what resume_from_newest() and
// load_initial_weights() do, and ConfigError where there are checkpoints and `resume` is false.
ResumedFrom start_run(Replica& replica, const RunIdentity& identity, bool resume);

// Whether start_run() would, and the checkpoints of the run find room: throws what it throws, IoError where the disk
// is too small, and prints what it would do. Digests are compared, nothing is loaded or changed. Collective.
void check_start(Replica& replica, const RunIdentity& identity);

// Bytes that the checkpoints of a run take at most on the disk of which `num_there` are there already, from `step` on.
int64_t bytes_of_saves(const RunConfig& config, int64_t step, int64_t num_there, int64_t checkpoint_bytes);

}  // namespace engram
