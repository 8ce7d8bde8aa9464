#pragma once

#include "trainer/replica.h"
#include "trainer/requests.h"

namespace engram {

// Mean loss in nats per token over the first num_samples windows of a sequential loader, divided over the ranks.
// Collective; changes no parameter, state or counter. Throws Interrupted between batches.
double evaluate(Replica& replica, const BatchLoader& loader, int64_t num_samples, const Requests& requests);

}  // namespace engram
