#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/eval_config.h"
#include "trainer/resampling.h"

namespace engram {

// What the model says of one text of an item.
struct TextScore {
  double nats = 0;  // sum of -log p of its tokens
  int64_t num_tokens = 0;
  int64_t num_bytes = 0;   // of their text; of a choice without white space in front
  int64_t worst_rank = 0;  // of any of its tokens, see target_rank()
};

struct ScoredItem {
  std::vector<TextScore> texts;  // one for each choice; one for the other kinds
  int64_t answer = 0;
};

// A figure over the items of a task.
struct EvalMeasure {
  std::string name;
  double value = 0;
  Interval interval;
  std::string_view method;  // of the interval
  double chance = 0;        // what a model gives that finds every token equally likely
};

// The measures of a kind, for a vocabulary of that many tokens; `items` is not empty.
//   loss       nats_per_token, bits_per_byte
//   last_word  accuracy: all tokens are rank 1; perplexity: exp of the mean of -log p of the whole word
//   choice     accuracy: the likeliest text is the answer; accuracy_norm: the same for -log p by bytes; of equal ones
//              the first counts
//   cloze      p_at_1, p_at_10: all tokens are within that rank; nats_per_token
std::vector<EvalMeasure> measures_of(EvalKind kind, std::span<const ScoredItem> items, int64_t vocabulary);

}  // namespace engram
