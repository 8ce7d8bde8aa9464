#pragma once

#include <span>

#include "trainer/eval_tokens.h"
#include "trainer/replica.h"

namespace engram {

// What the model says of the scored tokens of one sequence.
struct SequenceScore {
  double nats = 0;         // sum of -log p
  int64_t worst_rank = 0;  // largest target_rank() of any of them; 1: greedy decoding writes them
};

// Scores every sequence on its own: n-grams see nothing of another. The model sees the last data.seq_len tokens before
// the last one, n-grams may look back beyond them; a document starts after each token `end_of_text`. At most
// data.seq_len tokens of a sequence are scored. Sequences of like length are computed together, as many as
// train.micro_batch full ones have tokens, and batches are divided over the ranks, so that the same bits come out on
// any number of them. Collective: every rank gives the same arguments and gets all results. Throws Error where a logit
// is not a number, and Interrupted between batches.
std::vector<SequenceScore> score(Replica& replica, std::span<const ScoredTokens> sequences, int32_t end_of_text);

}  // namespace engram
