#pragma once

#include "trainer/replica.h"

namespace engram {

// Mean loss in nats per token over the first num_samples windows of a sequential loader, divided over the ranks.
// Collective; changes no parameter, state or counter.
double evaluate(Replica& replica, const BatchLoader& loader, int64_t num_samples);

}  // namespace engram
