#pragma once

#include <functional>

#include "parallel/communicator.h"

namespace engram {

// Runs body(world) on `num_ranks` threads, each of which is one rank of `world`, and returns when all are done. Host
// memory. Data moves in wait(), straight from the memory of one rank into that of another.
//
// If ranks throw, the rest is ended by PeerFailed and the first exception that is not a PeerFailed is thrown here. A
// rank that returns while others wait for it is an Error too. A rank must destroy the groups it made by split() before
// body() ends or unwinds, which their being local variables does.
void run_ranks(int num_ranks, const std::function<void(Communicator&)>& body);

}  // namespace engram
