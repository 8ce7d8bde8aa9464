#pragma once

#include <functional>
#include <vector>

#include "trainer/replica.h"

namespace engram {

struct SamplingOptions {
  int64_t num_tokens = 100;
  double temperature = 0.8;  // 0 = the most likely token
  double top_p = 0.95;       // only the likeliest tokens whose probabilities add up to this
  uint64_t seed = 0;
  int64_t num_ids = 0;  // tokens from here on are never drawn; 0 = the whole vocabulary of the model
};

// Continues `prompt` token by token, and calls `emit` for each; ends early at end_of_text (-1: never), after which, in
// the prompt, a new document starts. The model sees the last data.seq_len tokens, computed anew for each token.
// Collective: every rank gives the same arguments and gets the same tokens.
void generate(Replica& replica, std::vector<int32_t> prompt, const SamplingOptions& options, int32_t end_of_text,
              const std::function<void(int32_t)>& emit);

// Logits of what follows `tokens` (at least one): one forward pass over the last data.seq_len of them, whose n-grams
// may look back beyond it. Parameters are float32 or bfloat16. Collective.
std::vector<float> next_logits(Replica& replica, const std::vector<int32_t>& tokens, int32_t end_of_text);

// One token from logits, by the number `random` in [0, 1). Throws Error where a logit is NaN.
int32_t sample_token(const std::vector<float>& logits, const SamplingOptions& options, double random);

}  // namespace engram
