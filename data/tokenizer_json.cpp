#include "data/tokenizer_json.h"

#include <nlohmann/json.hpp>
#include <span>

#include "data/atomic_file.h"
#include "data/byte_level.h"
#include "data/json_depth.h"
#include "data/known_keys.h"
#include "data/unicode_nfc.h"
#include "data/utf8.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = size_t{64} << 20, kMaxPieceBytes = size_t{64} << 10;

json parse(std::string_view text) {
  ENGRAM_CHECK(text.size() <= kMaxFileBytes, "got ", text.size(), " bytes, wanted at most ", kMaxFileBytes);
  json root = json::parse(text, JsonDepth());
  ENGRAM_CHECK(root.is_object(), "got ", root.type_name(), ", wanted an object with \"model\" and \"pre_tokenizer\"");
  return root;
}

const json& member(const json& object, const char* key) {
  static const json kNull;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? kNull : *found;
}

bool is_unset(const json& value) { return value.is_null() || value == "" || value == false || value == 0; }

void check_model(const json& model) {
  ENGRAM_CHECK(model.is_object(), "no \"model\"");
  const json& type = member(model, "type");
  ENGRAM_CHECK(type == "BPE" || (type.is_null() && model.contains("merges")), "model type ", type.dump(),
               " is not supported; supported: BPE (byte-level)");
  check_keys(model, "model",
             {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
              "byte_fallback", "ignore_merges", "vocab", "merges"});
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"}) {
    ENGRAM_CHECK(is_unset(member(model, key)), "model: ", key, " = ", model[key].dump(), " is not supported");
  }
  ENGRAM_CHECK(member(model, "vocab").is_object(), "model: no object \"vocab\"");
  ENGRAM_CHECK(member(model, "merges").is_array(), "model: no array \"merges\"");
}

// True for NFC, false for none; everything else is refused by name.
bool is_nfc(const json& normalizer) {
  if (normalizer.is_null()) return false;
  const json& type = member(normalizer, "type");
  if (type == "NFC") return true;
  ENGRAM_CHECK(type == "Sequence" && member(normalizer, "normalizers").is_array(), "normalizer: type ", type.dump(),
               " is not supported; supported: none, NFC, Sequence");
  bool result = false;
  for (const json& step : normalizer["normalizers"]) result |= is_nfc(step);
  return result;
}

// Gathers (id, piece) pairs; afterwards the ids are dense and no piece has two.
class Vocabulary {
 public:
  Vocabulary(TokenizerData& data, size_t limit) : data_(data), used_(limit, false) { data.pieces.resize(limit); }

  int32_t add(const json& id_value, const std::string& piece) {
    ENGRAM_CHECK(piece.size() <= kMaxPieceBytes, "token ", id_value.dump(), ": its piece has ", piece.size(),
                 " bytes, wanted at most ", kMaxPieceBytes);
    const bool in_range = id_value.is_number_unsigned() && id_value.get<uint64_t>() < used_.size();
    ENGRAM_CHECK(in_range, "id of \"", piece, "\": got ", id_value.dump().substr(0, 40), ", wanted dense ids below ",
                 used_.size());
    const auto id = id_value.get<size_t>();
    if (used_[id] && data_.pieces[id] == piece) return static_cast<int32_t>(id);
    ENGRAM_CHECK(!used_[id], "id ", id, " is given to both \"", data_.pieces[id], "\" and \"", piece, "\"");
    used_[id] = true;
    data_.pieces[id] = piece;
    const auto [other, is_new] = data_.piece_id.emplace(data_.pieces[id], static_cast<int32_t>(id));
    ENGRAM_CHECK(is_new, "\"", piece, "\" has two ids, ", other->second, " and ", id);
    return static_cast<int32_t>(id);
  }

  void finish() {
    const size_t size = data_.piece_id.size();
    for (size_t id = 0; id < size; ++id) {
      ENGRAM_CHECK(used_[id], "ids are not dense: no token has id ", id, ", yet there are ", size, " tokens");
    }
    data_.pieces.resize(size);
    data_.is_special.assign(size, false);
  }

 private:
  TokenizerData& data_;
  std::vector<bool> used_;
};

void check_added_token(const json& token) {
  const json& content = member(token, "content");
  ENGRAM_CHECK(content.is_string() && content != "", "added_tokens: no text \"content\" in ",
               token.dump().substr(0, 200));
  const std::string what = "added token " + content.dump();
  check_keys(token, what, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  for (const char* key : {"lstrip", "rstrip", "single_word"}) {
    ENGRAM_CHECK(is_unset(member(token, key)), what, ": ", key, " = ", token[key].dump(), " is not supported");
  }
}

void read_vocabulary(const json& model, const json& added, TokenizerData& data) {
  ENGRAM_CHECK(added.is_array() || added.is_null(), "added_tokens: got ", added.type_name(), ", wanted an array");
  Vocabulary vocabulary(data, model["vocab"].size() + added.size());
  for (const auto& [piece, id] : model["vocab"].items()) vocabulary.add(id, piece);
  std::vector<int32_t> special;
  for (const json& token : added) {
    check_added_token(token);
    const auto content = token["content"].get<std::string>();
    const int32_t id = vocabulary.add(member(token, "id"), content);
    if (member(token, "normalized") == true)
      data.added_normalized.add(data.normalize_nfc ? normalize_nfc(content) : content, id);
    else
      data.added.add(content, id);
    if (member(token, "special") == true) special.push_back(id);
  }
  vocabulary.finish();
  for (const int32_t id : special) data.is_special[static_cast<size_t>(id)] = true;
}

void read_bytes(TokenizerData& data, bool ignore_merges) {
  data.bytes.reserve(data.pieces.size());
  for (size_t id = 0; id < data.pieces.size(); ++id) {
    auto bytes = bytes_of_piece(data.pieces[id]);
    data.bytes.push_back(bytes ? std::move(*bytes) : data.pieces[id]);
    if (bytes && ignore_merges) data.whole_word_id.emplace(data.bytes.back(), static_cast<int32_t>(id));
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string letter;
    append_utf8(byte_to_letter(static_cast<uint8_t>(byte)), letter);
    const auto found = data.piece_id.find(letter);
    ENGRAM_CHECK(found != data.piece_id.end(), "byte ", byte, " has no token: \"", letter,
                 "\" is not in the vocabulary (only byte-level BPE is supported)");
    data.byte_id[byte] = found->second;
  }
}

// The two sides of a merge rule, which files write as "a b" or as ["a", "b"].
std::pair<std::string, std::string> sides_of(const json& rule) {
  if (rule.is_array() && rule.size() == 2 && rule[0].is_string() && rule[1].is_string()) {
    return {rule[0].get<std::string>(), rule[1].get<std::string>()};
  }
  const std::string text = rule.is_string() ? rule.get<std::string>() : "";
  const size_t space = text.find(' ');
  ENGRAM_CHECK(space != text.npos && text.find(' ', space + 1) == text.npos, "merges: got ", rule.dump().substr(0, 200),
               ", wanted two tokens");
  return {text.substr(0, space), text.substr(space + 1)};
}

void read_merges(const json& rules, TokenizerData& data) {
  const auto id_of = [&](const std::string& piece, size_t rank) {
    const auto found = data.piece_id.find(piece);
    ENGRAM_CHECK(found != data.piece_id.end(), "merge ", rank, ": \"", piece, "\" is not in the vocabulary");
    return found->second;
  };
  for (size_t rank = 0; rank < rules.size(); ++rank) {
    const auto [left, right] = sides_of(rules[rank]);
    const int32_t left_id = id_of(left, rank), right_id = id_of(right, rank);
    const bool is_new = data.merges.add(left_id, right_id, static_cast<int32_t>(rank), id_of(left + right, rank));
    ENGRAM_CHECK(is_new, "merge ", rank, ": \"", left, "\" and \"", right, "\" are merged twice");
  }
}

}  // namespace

TokenizerData parse_tokenizer_json(std::string_view text) {
  const json root = parse(text);
  check_keys(root, "file",
             {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
              "decoder", "model"});
  const json& model = member(root, "model");
  check_model(model);
  ENGRAM_CHECK(member(member(root, "decoder"), "type") == "ByteLevel", "decoder: type ",
               member(member(root, "decoder"), "type").dump(), " is not supported; supported: ByteLevel");
  TokenizerData data{.digest = digest_of(std::as_bytes(std::span(text))),
                     .pieces = {},
                     .bytes = {},
                     .is_special = {},
                     .piece_id = {},
                     .whole_word_id = {},
                     .byte_id = {},
                     .merges = BpeMerges(static_cast<int64_t>(model["merges"].size())),
                     .pre_tokenizer = PreTokenizer(member(root, "pre_tokenizer")),
                     .added = {},
                     .added_normalized = {},
                     .normalize_nfc = is_nfc(member(root, "normalizer"))};
  read_vocabulary(model, member(root, "added_tokens"), data);
  read_bytes(data, member(model, "ignore_merges") == true);
  read_merges(model["merges"], data);
  return data;
}

}  // namespace engram
