#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_source.h"

namespace engram {

// What building needs of a tokenizer.
struct StoreEncoder {
  std::function<std::vector<int32_t>(std::string_view text)> encode;  // without special tokens
  std::string tokenizer_digest;
  int64_t vocab_size = 0;
  int64_t eos_id = 0;
};

struct BuildOptions {
  std::vector<std::string> inputs;  // files and directories, see text_source.h
  TextSourceOptions text;
  std::string output;
  double holdout_fraction = 0;  // of the documents; at least one where it is above 0
  std::string holdout_output;   // wanted where holdout_fraction is above 0
  uint64_t seed = 0;
  // Called now and then with the documents and bytes of text encoded so far; may throw to stop. May be empty.
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
  StoreSummary train, holdout;
};

// Text files to a token store, and a second one of held-out documents. Documents are shuffled once, by a keyed
// permutation of their numbers; the last of that order are the held-out ones. The same inputs, options and tokenizer
// give the same bytes. Each file appears only when it is complete, the held-out one first.
BuildSummary build_token_store(const BuildOptions& options, const StoreEncoder& encoder);

}  // namespace engram
