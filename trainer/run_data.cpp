#include "trainer/run_data.h"

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

RunIdentity identity_of(const RunTokenizer& tokenizer, const TokenStore* train) {
  return {.tokenizer_digest = tokenizer.tokenizer.digest(),
          .vocabulary_digest = tokenizer.vocabulary.digest(),
          .data_digest = train == nullptr ? "" : train->digest()};
}

}  // namespace engram
