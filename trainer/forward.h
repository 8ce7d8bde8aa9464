#pragma once

#include <span>

#include "trainer/replica.h"
#include "trainer/step_batch.h"

namespace engram {

// Appends a sequence to `batch`, whose history and seq_len are set: tokens[first] is in column 0, and columns before
// and after the tokens hold 0. Documents start at tokens[0] and after each end_of_text (-1: there is none).
void append_sequence(std::span<const int32_t> tokens, int64_t first, int32_t end_of_text, Batch& batch);

// Hidden states [num_tokens, hidden] of a batch, without gradients. They and what `saved` names lie in the replica's
// arena and on its stream; the batch must live until that is done. Collective where the model has a memory.
Tensor forward_batch(Replica& replica, const StepBatch& batch, LanguageModel::Saved& saved);

}  // namespace engram
