#pragma once

#include <string>
#include <vector>

#include "data/batch_loader.h"
#include "data/bpe_tokenizer.h"
#include "data/compressed_vocabulary.h"
#include "parallel/communicator.h"
#include "trainer/memory.h"
#include "trainer/run_config.h"

namespace engram {

// What a checkpoint's meaning depends on besides its configuration.
struct RunIdentity {
  std::string tokenizer_digest;
  std::string vocabulary_digest;  // of the compressed vocabulary
  std::string data_digest;        // of the training store
};

// Tokenizer of a run with its compressed vocabulary.
struct RunTokenizer {
  BpeTokenizer tokenizer;
  CompressedVocabulary vocabulary;

  VocabularyMap map() const { return {.compressed_ids = vocabulary.map(), .num_keys = vocabulary.num_keys()}; }
};

// Loads data.tokenizer. Throws Error where the model has fewer token embeddings than it has ids.
RunTokenizer load_tokenizer(const RunConfig& config);

// Opens a store and checks that the run's tokenizer made it.
TokenStore open_store(const std::string& path, const BpeTokenizer& tokenizer);
// The same on every rank: those that see the same file share the work of checking its tokens. Throws on all ranks
// where any finds something, and where they see different contents. Collective.
TokenStore open_store(Communicator& world, const std::string& path, const BpeTokenizer& tokenizer);

// The stores of data.train.
class TrainingData {
 public:
  // Opens each store as open_store() does.
  TrainingData(const RunConfig& config, const BpeTokenizer& tokenizer);
  TrainingData(Communicator& world, const RunConfig& config, const BpeTokenizer& tokenizer);

  std::vector<WeightedStore> weighted() const;
  // Of one store its own digest; of several that of their digests and weights, in order.
  std::string digest() const;

 private:
  void add(const TrainingStore& entry, TokenStore store);

  std::vector<TokenStore> stores_;
  std::vector<double> weights_;
};

RunIdentity identity_of(const RunTokenizer& tokenizer, const TrainingData& train);
RunIdentity identity_of(const RunTokenizer& tokenizer);  // without data

}  // namespace engram
