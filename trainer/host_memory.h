#pragma once

#include <string>

#include "parallel/communicator.h"

namespace engram {

// Bytes of memory, and the file that says so.
struct MemoryLimit {
  int64_t num_bytes = 0;  // 0 = not known
  std::string source = {};
};

// What this process may have of its host's memory, and what of it is left: the least of what the machine has and what
// the control groups of its job (version 1 and 2) allow. What only keeps files at hand counts as left. `root` is where
// /proc and /sys are.
MemoryLimit host_memory(const std::string& root = "");
MemoryLimit available_host_memory(const std::string& root = "");

// Throws Unavailable where a host with so much memory has no room for the Engram tables of `num_ranks` ranks, of
// num_bytes each with all that is held beside them. Linux promises more memory than there is, and kills a program that
// uses it.
void check_room_for_tables(int64_t num_bytes, int64_t num_ranks, const MemoryLimit& available);

// The same of each rank's tables, on each host of the world. No rank returns before all have looked. Collective.
void check_host_memory(Communicator& world, int64_t num_bytes);

}  // namespace engram
