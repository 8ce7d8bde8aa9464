#include "data/batch_loader.h"

#include <algorithm>

#include "data/keyed_permutation.h"
#include "kernels/core/check.h"

namespace engram {

namespace {

std::vector<double> weights_of(std::span<const WeightedStore> stores) {
  std::vector<double> weights;
  for (const WeightedStore& store : stores) weights.push_back(store.weight);
  return weights;
}

}  // namespace

BatchLoader::BatchLoader(std::span<const WeightedStore> stores, const BatchLoaderOptions& options)
    : stores_(stores.begin(), stores.end()), blend_(weights_of(stores)), options_(options) {
  ENGRAM_CHECK(options.seq_len >= 1 && options.history >= 0, "batch loader: seq_len ", options.seq_len, ", history ",
               options.history, "; wanted seq_len >= 1 and history >= 0");
  for (const WeightedStore& each : stores_) {
    ENGRAM_CHECK(num_windows(*each.store) >= 1, each.store->path(), ": holds ", each.store->num_tokens(),
                 " tokens, wanted at least seq_len + 1 = ", options.seq_len + 1);
  }
}

BatchLoader::BatchLoader(const TokenStore& store, const BatchLoaderOptions& options)
    : BatchLoader(std::vector<WeightedStore>{{.store = &store, .weight = 1}}, options) {}

int64_t BatchLoader::num_windows() const {
  int64_t sum = 0;
  for (const WeightedStore& each : stores_) sum += num_windows(*each.store);
  return sum;
}

int64_t BatchLoader::window_of(const SampleBlend::Place& place) const {
  const int64_t size = num_windows(store(place.source)), epoch = place.sample / size, index = place.sample % size;
  if (options_.order == SampleOrder::kSequential) return index;
  ENGRAM_CHECK(epoch < int64_t{kDocumentStream}, "batch loader: epoch ", epoch, " of ", store(place.source).path(),
               " is beyond the last one, ", kDocumentStream - 1);
  return static_cast<int64_t>(keyed_permutation(options_.seed, static_cast<uint32_t>(epoch),
                                                static_cast<uint64_t>(index), static_cast<uint64_t>(size)));
}

Batch BatchLoader::load(int64_t first_sample, int64_t num_samples) const {
  ENGRAM_CHECK(num_samples >= 0, "batch loader: ", num_samples, " samples");
  Batch batch{.first_sample = first_sample,
              .num_samples = num_samples,
              .history = options_.history,
              .seq_len = options_.seq_len,
              .position_offset = 0,
              .tokens = {},
              .starts = {}};
  const auto row_length = static_cast<size_t>(batch.row_length());
  batch.tokens.resize(static_cast<size_t>(num_samples) * row_length);
  batch.starts.resize(batch.tokens.size());
  for (int64_t row = 0; row < num_samples; ++row) {
    const SampleBlend::Place place = blend_.place_of(first_sample + row);
    const int64_t begin = window_of(place) * options_.seq_len - options_.history;
    const auto num_missing = static_cast<size_t>(std::max<int64_t>(0, -begin));  // before the store's first token
    const size_t at = static_cast<size_t>(row) * row_length + num_missing;
    store(place.source)
        .read(std::max<int64_t>(0, begin), std::span(batch.tokens).subspan(at, row_length - num_missing),
              std::span(batch.starts).subspan(at, row_length - num_missing));
  }
  return batch;
}

}  // namespace engram
