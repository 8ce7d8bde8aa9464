#include "trainer/run_data.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "data/atomic_file.h"
#include "kernels/core/check.h"
#include "kernels/core/device_info.h"

namespace engram {

RunTokenizer load_tokenizer(const RunConfig& config) {
  BpeTokenizer tokenizer = BpeTokenizer::load(config.data.tokenizer);
  ENGRAM_CHECK(tokenizer.vocabulary_size() <= config.model.vocab_size, config.data.tokenizer, ": has ",
               tokenizer.vocabulary_size(), " ids, model.vocab_size is ", config.model.vocab_size,
               "; set model.vocab_size to at least ", tokenizer.vocabulary_size());
  CompressedVocabulary vocabulary(tokenizer);
  return {.tokenizer = std::move(tokenizer), .vocabulary = std::move(vocabulary)};
}

TokenStore open_store(const std::string& path, const BpeTokenizer& tokenizer) {
  TokenStore store = TokenStore::open(path);
  store.check_tokenizer(tokenizer.digest(), tokenizer.vocabulary_size());
  return store;
}

namespace {

// The blocks that this rank checks, those that see the same file taking turns: files[r] is the digest of rank r's and
// which one it is. Throws Error where this rank's is of other contents than rank 0's.
BlockShare share_of(const std::vector<std::string>& files, size_t rank, const TokenStore& store) {
  ENGRAM_CHECK(files[0].starts_with(store.digest() + " "), store.path(), ": on ", host_name(), " it has digest ",
               store.digest(), ", that of rank 0 has ", files[0].substr(0, files[0].find(' ')),
               "; wanted the same store on every host");
  const auto is_same = [&](const std::string& other) { return other == files[rank]; };
  const auto self = files.begin() + static_cast<std::ptrdiff_t>(rank);
  return {.first = std::count_if(files.begin(), self, is_same),
          .every = std::count_if(files.begin(), files.end(), is_same)};
}

}  // namespace

TokenStore open_store(Communicator& world, const std::string& path, const BpeTokenizer& tokenizer) {
  std::optional<TokenStore> store;
  std::string file;
  together(world, [&] {
    store.emplace(TokenStore::open_unchecked(path));
    store->check_tokenizer(tokenizer.digest(), tokenizer.vocabulary_size());
    file = store->digest() + " " + store->file_identity();
  });
  const std::vector<std::string> files = gather_texts(world, file);
  together(world, [&] { store->check_blocks(share_of(files, static_cast<size_t>(world.rank()), *store)); });
  return std::move(*store);
}

TrainingData::TrainingData(const RunConfig& config, const BpeTokenizer& tokenizer) {
  for (const TrainingStore& entry : config.data.train) add(entry, open_store(entry.store, tokenizer));
}

TrainingData::TrainingData(Communicator& world, const RunConfig& config, const BpeTokenizer& tokenizer) {
  for (const TrainingStore& entry : config.data.train) add(entry, open_store(world, entry.store, tokenizer));
}

void TrainingData::add(const TrainingStore& entry, TokenStore store) {
  stores_.push_back(std::move(store));
  weights_.push_back(entry.weight);
}

std::vector<WeightedStore> TrainingData::weighted() const {
  std::vector<WeightedStore> weighted;
  for (size_t i = 0; i < stores_.size(); ++i) weighted.push_back({.store = &stores_[i], .weight = weights_[i]});
  return weighted;
}

std::string TrainingData::digest() const {
  if (stores_.size() == 1) return stores_[0].digest();
  std::string text;
  for (size_t i = 0; i < stores_.size(); ++i) text += stores_[i].digest() + " " + number_text(weights_[i]) + "\n";
  return digest_of(std::as_bytes(std::span(text)));
}

RunIdentity identity_of(const RunTokenizer& tokenizer, const TrainingData& train) {
  RunIdentity identity = identity_of(tokenizer);
  identity.data_digest = train.digest();
  return identity;
}

RunIdentity identity_of(const RunTokenizer& tokenizer) {
  return {.tokenizer_digest = tokenizer.tokenizer.digest(),
          .vocabulary_digest = tokenizer.vocabulary.digest(),
          .data_digest = ""};
}

}  // namespace engram
