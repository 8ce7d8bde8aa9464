#include <xxhash.h>

#include <limits>
#include <unordered_map>

#include "data/bpe_tokenizer.h"
#include "data/tokenizer_json.h"
#include "data/unicode_nfc.h"
#include "data/utf8.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

struct WordHash {
  using is_transparent = void;
  size_t operator()(std::string_view word) const { return XXH3_64bits(word.data(), word.size()); }
};

// Ids of words seen before. Forgets everything when full, which keeps it simple and bounded.
class WordCache {
 public:
  static constexpr size_t kMaxWords = size_t{1} << 19, kMaxWordBytes = 48;

  // True where the word's ids were known and have been appended.
  bool append(std::string_view word, std::vector<int32_t>& ids) const {
    const auto found = words_.find(word);
    if (found == words_.end()) return false;
    const auto first = ids_.begin() + found->second.begin;
    ids.insert(ids.end(), first, first + found->second.count);
    return true;
  }

  void keep(std::string_view word, const std::vector<int32_t>& ids) {
    if (word.size() > kMaxWordBytes) return;
    if (words_.size() == kMaxWords) {
      words_.clear();
      ids_.clear();
    }
    words_.emplace(word, Range{static_cast<int32_t>(ids_.size()), static_cast<int32_t>(ids.size())});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  struct Range {
    int32_t begin, count;
  };
  std::unordered_map<std::string, Range, WordHash, std::equal_to<>> words_;
  std::vector<int32_t> ids_;
};

}  // namespace

struct BpeEncoder::State {
  const TokenizerData& data;
  WordCache cache;
  PreTokenizer::Scratch scratch;
  BpeMerges::Scratch merge_scratch;
  std::vector<int32_t> symbols;

  void encode_checked(std::string_view text, AddedTokenPolicy policy, std::vector<int32_t>& ids);
  void encode_text(std::string_view text, AddedTokenPolicy policy, std::vector<int32_t>& ids);
  void encode_words(std::string_view text, std::vector<int32_t>& ids);
  void encode_word(std::string_view word, std::vector<int32_t>& ids);
};

namespace {

// Calls on_text for what lies between added tokens and appends the ids of those.
template <class OnText>
void around_added(const AddedTokens& added, std::string_view text, std::vector<int32_t>& ids, const OnText& on_text) {
  for (size_t at = 0; at < text.size();) {
    const AddedTokens::Found found = added.find(text, at);
    on_text(text.substr(at, found.begin - at));
    if (found.begin < text.size()) ids.push_back(found.id);
    at = found.end;
  }
}

}  // namespace

void BpeEncoder::State::encode_word(std::string_view word, std::vector<int32_t>& ids) {
  if (cache.append(word, ids)) return;
  symbols.clear();
  const auto whole = data.whole_word_id.find(word);
  if (whole != data.whole_word_id.end()) {
    symbols.push_back(whole->second);
  } else {
    for (const char byte : word) symbols.push_back(data.byte_id[static_cast<unsigned char>(byte)]);
    data.merges.apply(symbols, merge_scratch);
  }
  cache.keep(word, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void BpeEncoder::State::encode_words(std::string_view text, std::vector<int32_t>& ids) {
  for (const std::string_view word : data.pre_tokenizer.split(text, scratch)) encode_word(word, ids);
}

// The library's order: added tokens in the text as it is, then the normalizer, then those marked as normalized.
void BpeEncoder::State::encode_text(std::string_view text, AddedTokenPolicy policy, std::vector<int32_t>& ids) {
  const std::string normalized = data.normalize_nfc ? normalize_nfc(text) : "";
  if (data.normalize_nfc) text = normalized;
  if (policy == AddedTokenPolicy::kText) return encode_words(text, ids);
  around_added(data.added_normalized, text, ids, [&](std::string_view part) { encode_words(part, ids); });
}

void BpeEncoder::State::encode_checked(std::string_view text, AddedTokenPolicy policy, std::vector<int32_t>& ids) {
  constexpr auto kMaxBytes = static_cast<size_t>(std::numeric_limits<int32_t>::max());
  ENGRAM_CHECK(text.size() <= kMaxBytes, "encode: got a text of ", text.size(), " bytes, wanted at most ", kMaxBytes);
  const auto invalid = find_invalid_utf8(text);
  ENGRAM_CHECK(!invalid, "encode: the text is not UTF-8 at byte ", invalid.value_or(0));
  const size_t before = ids.size();
  try {
    if (policy == AddedTokenPolicy::kText) return encode_text(text, policy, ids);
    around_added(data.added, text, ids, [&](std::string_view part) { encode_text(part, policy, ids); });
  } catch (...) {
    ids.resize(before);
    throw;
  }
}

BpeEncoder::BpeEncoder(const BpeTokenizer& tokenizer)
    : state_(new State{.data = *tokenizer.data_, .cache = {}, .scratch = {}, .merge_scratch = {}, .symbols = {}}) {}
BpeEncoder::BpeEncoder(BpeEncoder&&) noexcept = default;
BpeEncoder& BpeEncoder::operator=(BpeEncoder&&) noexcept = default;
BpeEncoder::~BpeEncoder() = default;

void BpeEncoder::encode(std::string_view text, std::vector<int32_t>& ids, AddedTokenPolicy policy) {
  state_->encode_checked(text, policy, ids);
}

}  // namespace engram
