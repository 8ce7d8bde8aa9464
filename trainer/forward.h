#pragma once

#include "trainer/replica.h"
#include "trainer/step_batch.h"

namespace engram {

// Hidden states [num_tokens, hidden] of a batch, without gradients. They and what `saved` names lie in the replica's
// arena and on its stream; the batch must live until that is done. Collective where the model has a memory.
Tensor forward_batch(Replica& replica, const StepBatch& batch, LanguageModel::Saved& saved);

}  // namespace engram
