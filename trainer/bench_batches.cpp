#include "trainer/bench_batches.h"

#include <cmath>
#include <numeric>

#include "kernels/core/rng.h"

namespace engram {
namespace {

constexpr int64_t kDocumentTokens = 500;

}  // namespace

BenchBatches::BenchBatches(const RunConfig& config)
    : seq_len_(config.data.seq_len),
      history_(config.model.engram.enabled() ? config.model.engram.max_order() - 1 : 0),
      vocab_size_(config.model.vocab_size) {
  if (config.data.train.empty()) {
    ids_.resize(static_cast<size_t>(vocab_size_));
    std::iota(ids_.begin(), ids_.end(), 0);
    return;
  }
  tokenizer_.emplace(load_tokenizer(config));
  stores_.emplace(config, tokenizer_->tokenizer);
  loader_.emplace(stores_->weighted(), BatchLoaderOptions{.seq_len = seq_len_,
                                                          .history = history_,
                                                          .seed = static_cast<uint64_t>(config.run.seed),
                                                          .order = SampleOrder::kShuffled});
}

Batch BenchBatches::load(int64_t first, int64_t count) const {
  return loader_ ? loader_->load(first, count) : random(first, count);
}

VocabularyMap BenchBatches::vocabulary() const {
  return tokenizer_ ? tokenizer_->map() : VocabularyMap{.compressed_ids = ids_, .num_keys = vocab_size_};
}

Batch BenchBatches::random(int64_t first, int64_t count) const {
  Batch batch;
  batch.first_sample = first;
  batch.num_samples = count;
  batch.history = history_;
  batch.seq_len = seq_len_;
  const double log_size = std::log(static_cast<double>(vocab_size_));
  for (int64_t sample = first; sample < first + count; ++sample) {
    for (int64_t i = 0; i < batch.row_length(); ++i) {
      const Random128 random = philox(0, static_cast<uint64_t>(i), static_cast<uint64_t>(sample));
      const double id = std::exp(double{uniform(random.word[0])} * log_size) - 1;
      batch.tokens.push_back(static_cast<int32_t>(id));
      batch.starts.push_back(i % kDocumentTokens == 0 ? 1 : 0);
    }
  }
  return batch;
}

}  // namespace engram
