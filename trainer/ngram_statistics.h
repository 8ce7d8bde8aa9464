#pragma once

#include <string>
#include <vector>

#include "data/batch_loader.h"
#include "model/model_config.h"
#include "trainer/run_data.h"

namespace engram {

// What hashing makes of the n-grams of a text.
struct NgramStatistics {
  // One hash head of one order, in one layer's table.
  struct Head {
    int64_t layer = 0, order = 0, head = 0;
    int64_t num_rows = 0;
    int64_t num_touched = 0;  // rows that some n-gram has
    int64_t num_sharing = 0;  // distinct n-grams whose row another one has, too: collisions
  };
  int64_t num_tokens = 0;
  std::vector<int64_t> num_distinct;  // n-grams of compressed ids, by order from 2 on
  std::vector<Head> heads;            // by layer, order and head
};

// Of the n-grams that end at the inputs of a batch, which must have max_order - 1 tokens of history. Throws Error where
// no layer has memory, or its rows are not those of n-grams (a control of sweeps).
NgramStatistics ngram_statistics(const Batch& batch, const EngramConfig& config, const RunTokenizer& tokenizer);

// For people; beside each share the one of a hash that falls on all rows evenly.
std::string ngram_statistics_text(const NgramStatistics& statistics);

}  // namespace engram
