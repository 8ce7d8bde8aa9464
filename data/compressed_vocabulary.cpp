#include "data/compressed_vocabulary.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "data/bpe_tokenizer.h"
#include "data/unicode_table.h"
#include "data/utf8.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr char32_t kSentinel = 0xE000;

std::u32string collapse_spaces(const std::u32string& text) {
  std::u32string result;
  for (const char32_t c : text) {
    const bool is_space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!is_space)
      result.push_back(c);
    else if (result.empty() || result.back() != ' ')
      result.push_back(' ');
  }
  return result;
}

void strip(std::u32string& text) {
  text.erase(std::find_if_not(text.rbegin(), text.rend(), is_white_space).base(), text.end());
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_white_space));
}

std::vector<int32_t> make_map(const BpeTokenizer& tokenizer) {
  std::unordered_map<std::string, int32_t> keys;
  std::vector<int32_t> map;
  for (int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    const auto next = static_cast<int32_t>(keys.size());
    map.push_back(keys.emplace(compression_key(tokenizer, id), next).first->second);
  }
  return map;
}

std::string sha256_of(const std::vector<int32_t>& map) {
  std::string bytes;
  for (const int64_t key : map) {
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(key >> shift & 0xFF));
  }
  std::array<unsigned char, 32> digest{};
  const int ok = EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  ENGRAM_CHECK(ok == 1, "compressed vocabulary: libcrypto has no SHA-256 on this machine");
  std::string text;
  for (const unsigned char byte : digest) {
    text.push_back("0123456789abcdef"[byte >> 4]);
    text.push_back("0123456789abcdef"[byte & 15]);
  }
  return text;
}

}  // namespace

std::string compression_key(std::string_view text) {
  std::u32string points;
  for (size_t at = 0; at < text.size();) append_key_form(next_code_point(text, at), points);
  points = collapse_spaces(points);
  if (points == U" ") points.assign(1, kSentinel);  // a lone space must survive strip()
  strip(points);
  if (points.empty()) return std::string(text);
  std::string key;
  for (const char32_t c : points) append_utf8(c == kSentinel ? U' ' : c, key);
  return key;
}

std::string compression_key(const BpeTokenizer& tokenizer, int32_t id) {
  const std::string_view text = tokenizer.bytes(id);
  std::string replacement;
  append_utf8(kReplacementCharacter, replacement);
  const bool is_text = !find_invalid_utf8(text) && text.find(replacement) == text.npos;
  return is_text ? compression_key(text) : std::string(tokenizer.piece(id));
}

CompressedVocabulary::CompressedVocabulary(const BpeTokenizer& tokenizer) : CompressedVocabulary(make_map(tokenizer)) {}

CompressedVocabulary::CompressedVocabulary(std::vector<int32_t> map) : map_(std::move(map)) {
  for (size_t id = 0; id < map_.size(); ++id) {
    ENGRAM_CHECK(map_[id] >= 0 && map_[id] <= num_keys_, "compressed vocabulary: token ", id, " has key ", map_[id],
                 ", wanted 0 to ", num_keys_, " (new keys appear in ascending order)");
    num_keys_ = std::max<int64_t>(num_keys_, int64_t{map_[id]} + 1);
  }
  digest_ = sha256_of(map_);
}

int32_t CompressedVocabulary::key_of(int64_t token) const {
  ENGRAM_CHECK(token >= 0 && token < vocabulary_size(), "token id: got ", token, ", wanted 0 to ",
               vocabulary_size() - 1);
  return map_[static_cast<size_t>(token)];
}

}  // namespace engram
