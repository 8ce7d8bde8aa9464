#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/sample_blend.h"
#include "data/token_store.h"

namespace engram {

// Some consecutive samples of the global order. Every row is `history` tokens that precede the window, the seq_len
// tokens of the window, and the one after it (the last target):
//   inputs are columns [history, history + seq_len), their targets the same columns plus one.
struct Batch {
  int64_t first_sample = 0, num_samples = 0;
  int64_t history = 0, seq_len = 0;
  int64_t position_offset = 0;  // position in its sequence of column `history`
  std::vector<int32_t> tokens;  // [num_samples, history + seq_len + 1]; 0 before the store's first token
  std::vector<uint8_t> starts;  // same shape; 1 where a document starts

  int64_t row_length() const { return history + seq_len + 1; }
};

enum class SampleOrder : uint8_t {
  kShuffled,    // a new keyed permutation of the windows in every epoch
  kSequential,  // windows as they lie in the store; for validation
};

struct BatchLoaderOptions {
  int64_t seq_len = 0;
  int64_t history = 0;  // longest n-gram minus one
  uint64_t seed = 0;
  SampleOrder order = SampleOrder::kShuffled;
};

// A store, and how much of the samples it gives relative to others.
struct WeightedStore {
  const TokenStore* store = nullptr;
  double weight = 1;
};

// Cuts stores into fixed windows of seq_len tokens and serves them in an order that is a pure function of (seed,
// global sample index): SampleBlend deals the samples to the stores, and sample i of a store is in its epoch
// i / (windows of the store). Its whole state is the index the caller asks for, so the order is the same at any number
// of ranks and after any restart. Tokens past the last whole window of a store are not used.
class BatchLoader {
 public:
  // The stores must outlive the loader. Throws Error where one is too small for a window, and as SampleBlend().
  BatchLoader(std::span<const WeightedStore> stores, const BatchLoaderOptions& options);
  BatchLoader(const TokenStore& store, const BatchLoaderOptions& options);

  // Of all stores.
  int64_t num_windows() const;
  // Which store sample `sample` reads, and which window of it.
  int64_t store_of(int64_t sample) const { return blend_.place_of(sample).source; }
  int64_t window_of(int64_t sample) const { return window_of(blend_.place_of(sample)); }
  // Samples [first_sample, first_sample + num_samples).
  Batch load(int64_t first_sample, int64_t num_samples) const;

 private:
  const TokenStore& store(int64_t number) const { return *stores_[static_cast<size_t>(number)].store; }
  int64_t window_of(const SampleBlend::Place& place) const;
  int64_t num_windows(const TokenStore& store) const { return (store.num_tokens() - 1) / options_.seq_len; }

  std::vector<WeightedStore> stores_;
  SampleBlend blend_;
  BatchLoaderOptions options_;
};

}  // namespace engram
