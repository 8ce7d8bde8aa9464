#include "data/bpe_tokenizer.h"

#include <array>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/tokenizer_json.h"
#include "kernels/core/check.h"

namespace engram {

BpeTokenizer::BpeTokenizer(std::unique_ptr<const TokenizerData> data) : data_(std::move(data)) {}
BpeTokenizer::BpeTokenizer(BpeTokenizer&&) noexcept = default;
BpeTokenizer& BpeTokenizer::operator=(BpeTokenizer&&) noexcept = default;
BpeTokenizer::~BpeTokenizer() = default;

BpeTokenizer BpeTokenizer::load(const std::filesystem::path& path) {
  check_is_file(path.string(), "a tokenizer.json");
  return parse(contents_of_file(path), path.string());
}

BpeTokenizer BpeTokenizer::parse(std::string_view json, const std::string& name) {
  try {
    return BpeTokenizer(std::make_unique<const TokenizerData>(parse_tokenizer_json(json)));
  } catch (const nlohmann::json::exception& error) {
    ENGRAM_FAIL("tokenizer ", name, ": not the JSON of a tokenizer: ", error.what());
  } catch (const Error& error) {
    throw Error("tokenizer " + name + ": " + error.what());
  }
}

int64_t BpeTokenizer::vocabulary_size() const { return static_cast<int64_t>(data_->pieces.size()); }

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  BpeEncoder(*this).encode(text, ids);
  return ids;
}

std::string BpeTokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (const int32_t id : ids) text += bytes(id);
  return text;
}

namespace {

size_t checked(int32_t id, const TokenizerData& data) {
  ENGRAM_CHECK(id >= 0 && static_cast<size_t>(id) < data.pieces.size(), "token id: got ", id, ", wanted 0 to ",
               data.pieces.size() - 1);
  return static_cast<size_t>(id);
}

}  // namespace

std::string_view BpeTokenizer::bytes(int32_t id) const { return data_->bytes[checked(id, *data_)]; }
std::string_view BpeTokenizer::piece(int32_t id) const { return data_->pieces[checked(id, *data_)]; }
bool BpeTokenizer::is_special(int32_t id) const { return data_->is_special[checked(id, *data_)]; }
const std::string& BpeTokenizer::digest() const { return data_->digest; }

std::optional<int32_t> BpeTokenizer::find_piece(std::string_view piece) const {
  const auto found = data_->piece_id.find(piece);
  return found == data_->piece_id.end() ? std::nullopt : std::optional(found->second);
}

std::optional<int32_t> BpeTokenizer::end_of_text() const {
  constexpr std::array<std::string_view, 4> kNames{"<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>"};
  for (const std::string_view name : kNames) {
    if (const auto id = find_piece(name)) return id;
  }
  return std::nullopt;
}

}  // namespace engram
