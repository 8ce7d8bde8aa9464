#pragma once

#include <optional>
#include <vector>

#include "data/batch_loader.h"
#include "trainer/run_data.h"

namespace engram {

// What benchmarks train on: the samples of data.train in the order of a run, or, where the configuration names no
// store, token ids of which id i has probability proportional to 1 / (i + 1), with a new document every 500 tokens.
// Both depend on the number of the sample alone, and so not on the number of ranks.
class BenchBatches {
 public:
  explicit BenchBatches(const RunConfig& config);

  // Samples [first, first + count) of the run's order, each with its look-back.
  Batch load(int64_t first, int64_t count) const;
  // Random tokens have every id for its own key.
  VocabularyMap vocabulary() const;
  bool is_random() const { return !stores_; }

 private:
  Batch random(int64_t first, int64_t count) const;

  int64_t seq_len_, history_, vocab_size_;
  std::vector<int32_t> ids_;
  std::optional<RunTokenizer> tokenizer_;
  std::optional<TrainingData> stores_;
  std::optional<BatchLoader> loader_;
};

}  // namespace engram
