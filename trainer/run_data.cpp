#include "trainer/run_data.h"

#include "data/atomic_file.h"

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

TrainingData::TrainingData(const RunConfig& config, const BpeTokenizer& tokenizer) {
  for (const TrainingStore& store : config.data.train) {
    stores_.push_back(open_store(store.store, tokenizer));
    weights_.push_back(store.weight);
  }
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
