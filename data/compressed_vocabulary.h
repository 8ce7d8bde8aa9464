#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engram {

class BpeTokenizer;

// Text under which token ids are merged: NFKC, NFD, accents stripped, lower case, runs of white space to one space,
// stripped at both ends; the text itself where nothing would remain. `text` must be UTF-8.
// Source: arXiv:2601.07372, official demo; Unicode 9.0 as in the `tokenizers` library.
std::string compression_key(std::string_view text);

// The key of one token: that of its text, or its raw piece where it is not whole UTF-8 by itself or holds U+FFFD.
std::string compression_key(const BpeTokenizer& tokenizer, int32_t id);

// Map of token ids to compressed ids: ids whose decoded texts have the same key share one, new ones are given in order
// of first appearance. N-gram hashes use compressed ids only.
class CompressedVocabulary {
 public:
  // The map of a tokenizer.
  explicit CompressedVocabulary(const BpeTokenizer& tokenizer);

  // A map read from elsewhere (a token store, a checkpoint). Throws Error unless ids appear in first-appearance order.
  explicit CompressedVocabulary(std::vector<int32_t> map);

  // Compressed id of each token id.
  const std::vector<int32_t>& map() const { return map_; }

  // Size V of the map and number V' of compressed ids; V' enters every hash multiplier.
  int64_t vocabulary_size() const { return static_cast<int64_t>(map_.size()); }
  int64_t num_keys() const { return num_keys_; }

  // Compressed id of one token. Throws Error where `token` is outside [0, vocabulary_size()).
  int32_t key_of(int64_t token) const;

  // SHA-256, in hexadecimal, of the map as little-endian int64: what released models publish.
  const std::string& digest() const { return digest_; }

 private:
  std::vector<int32_t> map_;
  int64_t num_keys_ = 0;
  std::string digest_;
};

}  // namespace engram
