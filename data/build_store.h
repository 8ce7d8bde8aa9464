#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/text_source.h"

namespace engram {

// What building needs of a tokenizer.
struct StoreEncoder {
  // Ids of each text, without special tokens; a function of that text alone.
  std::function<std::vector<std::vector<int32_t>>(std::span<const std::string> texts)> encode;
  std::string tokenizer_digest;
  int64_t vocab_size = 0;
  int64_t eos_id = 0;
};

struct BuildOptions {
  std::vector<std::string> inputs;  // files and directories, see text_source.h
  TextSourceOptions text;
  std::string output;
  double holdout_fraction = 0;              // of the documents; at least one where it is above 0
  std::string holdout_output;               // wanted where holdout_fraction is above 0
  uint64_t seed = 0;                        // of the order of documents
  int64_t block_bytes = int64_t{32} << 20;  // text that is encoded at once, the most work that a kill loses
  // Called after each block with the documents and bytes of text encoded so far; may throw to stop. May be empty.
  std::function<void(int64_t num_documents, int64_t num_bytes)> progress;
};

struct StoreSummary {
  std::string path;  // empty where none was written
  std::string digest;
  int64_t num_documents = 0;
  int64_t num_tokens = 0;
};

struct BuildSummary {
  TextSourceReport text;
  int64_t num_kept = 0;  // documents that an earlier build had encoded
  StoreSummary train, holdout;
};

// Text files to a token store, and a second one of held-out documents. Documents are shuffled once, by a keyed
// permutation of their numbers. Which ones are held out depends on their text alone: more inputs or another seed move
// no document from one store to the other, and copies of a document stay together. The same inputs, options and
// tokenizer give the same bytes. Each store appears only when it is complete, the held-out one first.
//
// Memory holds two blocks of text, and a few bytes per document. What is encoded lies in the directory "OUTPUT.build"
// until both stores are written. A build that was ended at any moment and is started again reads its inputs once more,
// and encodes only what is not there. Throws Error where another process builds the same output.
BuildSummary build_token_store(const BuildOptions& options, const StoreEncoder& encoder);

}  // namespace engram
