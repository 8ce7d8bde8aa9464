#include "trainer/forward.h"

namespace engram {

Tensor forward_batch(Replica& r, const StepBatch& batch, LanguageModel::Saved& saved) {
  MicroBatch micro_batch = batch.micro_batch(0, batch.num_sequences);
  if (r.memory) {
    r.memory->begin_fetch(r.stream, batch, batch.num_sequences);
    micro_batch.memory = r.memory->micro_batch(0);
  }
  Context ctx = r.context(batch.num_sequences, batch.seq_len);
  return r.model.forward(ctx, micro_batch, saved);
}

}  // namespace engram
