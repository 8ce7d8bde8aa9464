#pragma once

#include "trainer/replica.h"
#include "trainer/requests.h"

namespace engram {

// How many sequences of the num_sequences that num_ranks ranks are to evaluate each takes at once: 4096 tokens of them,
// so that a card has enough to do. Those of a model with shuffled addressing, which read the rows of one another, stay
// pairs.
int64_t sequences_at_once(const RunConfig& config, int64_t num_sequences, int64_t num_ranks);

// Mean loss in nats per token over the first num_samples windows of a sequential loader, divided over the ranks.
// Collective; changes no parameter, state or counter. Throws Interrupted between batches.
double evaluate(Replica& replica, const BatchLoader& loader, int64_t num_samples, const Requests& requests);

}  // namespace engram
