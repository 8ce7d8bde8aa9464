#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace engram {

struct TokenizerData;

// A byte-level BPE vocabulary as Hugging Face's tokenizer.json describes it (GPT-2, Llama 3, Qwen 2.5, DeepSeek-V3).
// Immutable after loading; threads may share one. encode() equals the `tokenizers` library with
// add_special_tokens = false: no begin or end token is added, truncation and padding settings are ignored.
//
// Understood: model BPE without dropout, prefixes, suffixes or byte fallback; `ignore_merges`;
// normalizer none or NFC; pre-tokenizers Split (regular expression or string; Isolated, Removed, MergedWithPrevious),
// ByteLevel (without prefix space) and their Sequence; added tokens without lstrip, rstrip and single_word; decoder
// ByteLevel. Anything else is refused by name: a tokenizer that loads is one that encodes exactly.
class BpeTokenizer {
 public:
  // Reads tokenizer.json. Throws Error naming the file and what is wrong with it.
  static BpeTokenizer load(const std::filesystem::path& path);

  // The same from the text of the file; `name` stands for the path in messages.
  static BpeTokenizer parse(std::string_view json, const std::string& name);

  BpeTokenizer(BpeTokenizer&&) noexcept;
  BpeTokenizer& operator=(BpeTokenizer&&) noexcept;
  ~BpeTokenizer();

  // Number of ids, added tokens included. Ids are dense: 0 .. vocabulary_size() - 1.
  int64_t vocabulary_size() const;

  // Ids of a text. Added tokens are found wherever they are spelt out, as in the library. For many texts, an encoder is
  // faster. Throws Error with the byte offset where the text is not UTF-8, and for texts of 2 GiB or more.
  std::vector<int32_t> encode(std::string_view text) const;

  // Bytes of a sequence; not always whole characters. Throws Error where an id is outside [0, vocabulary_size()).
  std::string decode(const std::vector<int32_t>& ids) const;

  // Bytes that one id stands for, special tokens by their own text.
  std::string_view bytes(int32_t id) const;

  // The id's entry in the vocabulary as the file spells it (byte-level alphabet; content of an added token).
  std::string_view piece(int32_t id) const;

  // Id whose piece is exactly this, if any.
  std::optional<int32_t> find_piece(std::string_view piece) const;

  // Id of the first of these that exists: <|endoftext|>, <|end_of_text|>, <｜end▁of▁sentence｜>, </s>.
  std::optional<int32_t> end_of_text() const;

  // True for added tokens marked special (control tokens, not text).
  bool is_special(int32_t id) const;

  // XXH3-128 of the file's bytes, 32 hexadecimal digits: the identity that token stores and checkpoints record.
  const std::string& digest() const;

 private:
  friend class BpeEncoder;
  explicit BpeTokenizer(std::unique_ptr<const TokenizerData> data);
  std::unique_ptr<const TokenizerData> data_;
};

// What the spelling of an added token inside a text is: that token, or characters like any others.
enum class AddedTokenPolicy : uint8_t { kFind, kText };

// Encodes many texts with one tokenizer; keeps a cache of words, so one per thread (see parallel_encoder.h). The
// tokenizer must outlive it.
class BpeEncoder {
 public:
  explicit BpeEncoder(const BpeTokenizer& tokenizer);
  BpeEncoder(BpeEncoder&&) noexcept;
  BpeEncoder& operator=(BpeEncoder&&) noexcept;
  ~BpeEncoder();

  // Appends the ids of `text` to `ids`. Throws Error as BpeTokenizer::encode(); nothing is appended then.
  void encode(std::string_view text, std::vector<int32_t>& ids, AddedTokenPolicy policy = AddedTokenPolicy::kFind);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace engram
