#include "trainer/forward.h"

namespace engram {

void append_sequence(std::span<const int32_t> tokens, int64_t first, int32_t end_of_text, Batch& batch) {
  const auto token = [&](int64_t at) { return tokens[static_cast<size_t>(at)]; };
  for (int64_t at = first; at < first + batch.row_length(); ++at) {
    const bool is_given = at >= 0 && at < std::ssize(tokens);
    batch.tokens.push_back(is_given ? token(at) : 0);
    batch.starts.push_back(is_given && (at == 0 || token(at - 1) == end_of_text) ? 1 : 0);
  }
  ++batch.num_samples;
}

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
