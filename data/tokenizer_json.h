// Long because it holds what the file has, each part with a header of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/added_tokens.h"
#include "data/bpe_merges.h"
#include "data/pre_tokenizer.h"

namespace engram {

// A tokenizer.json, checked and in the form in which it is used. The index maps view `pieces` and `bytes`.
struct TokenizerData {
  std::string digest;                                           // XXH3-128 of the file
  std::vector<std::string> pieces;                              // by id, as spelt in the file
  std::vector<std::string> bytes;                               // by id, what it stands for
  std::vector<bool> is_special;                                 // by id
  std::unordered_map<std::string_view, int32_t> piece_id;       // id by piece
  std::unordered_map<std::string_view, int32_t> whole_word_id;  // id by bytes; filled where the model ignores merges
  std::array<int32_t, 256> byte_id;
  BpeMerges merges;
  PreTokenizer pre_tokenizer;
  AddedTokens added;             // looked for in the text as it is
  AddedTokens added_normalized;  // looked for afterwards, in normalized text
  bool normalize_nfc;
};

// Reads the text of a tokenizer.json. Throws Error, without the file's name, where it is not what BpeTokenizer
// understands or not consistent: byte tokens missing, ids not dense or not unique, merges of unknown tokens, pieces
// above 64 KiB.
TokenizerData parse_tokenizer_json(std::string_view json);

}  // namespace engram
