#pragma once

#include <string>
#include <vector>

#include "data/batch_loader.h"
#include "model/model_config.h"
#include "trainer/metrics.h"
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

  int64_t num_distinct_of(const Head& head) const { return num_distinct[static_cast<size_t>(head.order - 2)]; }
  // Of the distinct n-grams, those that share their row; and with a hash that falls on all rows evenly,
  // 1 - (1 - 1 / num_rows)^(num_distinct - 1).
  double sharing(const Head& head) const;
  double sharing_if_even(const Head& head) const;
};

// Whether table rows are those of the n-grams that end at a token: there are tables, and no control of sweeps that
// addresses them otherwise.
bool has_ngrams(const EngramConfig& config);

// Of the n-grams that end at the inputs of a batch, which must have max_order - 1 tokens of history. Throws Error where
// has_ngrams() is false.
NgramStatistics ngram_statistics(const Batch& batch, const EngramConfig& config, const RunTokenizer& tokenizer);

// For the log of a run: "tokens"; "orders" and "layers" as lists; "distinct" n-grams by order; and "sharing" and
// "sharing_if_even" of these by layer, order and head.
EventFields ngram_fields(const NgramStatistics& statistics);

// For people; beside each share the one of a hash that falls on all rows evenly.
std::string ngram_statistics_text(const NgramStatistics& statistics);

}  // namespace engram
