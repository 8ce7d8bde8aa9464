#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/bpe_tokenizer.h"

namespace engram {

// `asked`, or one per processor where that is 0.
int64_t num_encoder_threads(int64_t asked);

// Encodes many texts on several threads. The ids of a text depend on that text alone, so that the result is the same
// for any number of threads.
class ParallelEncoder {
 public:
  // num_threads >= 1, the caller's own included. The tokenizer must outlive the encoder.
  ParallelEncoder(const BpeTokenizer& tokenizer, int64_t num_threads, AddedTokenPolicy policy);

  // Ids of each text. Throws the Error of the first text, in their order, that has one.
  std::vector<std::vector<int32_t>> encode(std::span<const std::string> texts);

 private:
  AddedTokenPolicy policy_;
  std::vector<BpeEncoder> encoders_;  // one per thread, each with its cache of words
};

}  // namespace engram
