#pragma once

#include <cstdint>
#include <vector>

#include "data/bpe_tokenizer.h"
#include "trainer/eval_items.h"

namespace engram {

// Tokens whose last num_scored, at least one and not all, are scored, each given all before it.
struct ScoredTokens {
  std::vector<int32_t> tokens;
  int64_t num_scored = 0;
};

// `start`, then context and continuation encoded as one text. White space that ends the context belongs to the
// continuation, and so does a token that stretches over the boundary. Throws Error for an empty continuation.
ScoredTokens tokens_of(BpeEncoder& encoder, int32_t start, const ScoredText& text);

// The same tokens in parts that each score at most seq_len of them, in their order. Each keeps as much of what precedes
// it as a model sees that has seq_len inputs and n-grams that look back `history` tokens further.
std::vector<ScoredTokens> windows_of(const ScoredTokens& all, int64_t seq_len, int64_t history);

}  // namespace engram
