#pragma once

#include "parallel/communicator.h"

namespace engram {

// Bytes of memory that this host can still give; 0 where it does not say.
int64_t available_host_bytes();

// Throws Unavailable where a host with `available` bytes of memory (0 = not known) has no room for the Engram tables of
// `num_ranks` ranks, of num_bytes each with all that is held beside them. Linux promises more memory than there is, and
// kills a program that uses it.
void check_room_for_tables(int64_t num_bytes, int64_t num_ranks, int64_t available);

// The same of each rank's tables, on each host of the world. No rank returns before all have looked. Collective.
void check_host_memory(Communicator& world, int64_t num_bytes);

}  // namespace engram
