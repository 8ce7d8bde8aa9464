#include "data/utf8.h"

#include <cassert>
#include <cstring>

namespace engram {
namespace {

struct Sequence {
  enum class Kind : uint8_t { kWhole, kCutOff, kMalformed } kind;
  size_t length;  // at least 1; unless whole, of the longest part that could be the start of a character
};

// What stands at `text`, of which `left` (at least 1) bytes may be read.
Sequence sequence_at(const unsigned char* text, size_t left) {
  using Kind = Sequence::Kind;
  const unsigned lead = text[0];
  if (lead < 0x80) return {Kind::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kMalformed, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < length; ++i) {
    if (i == left) return {Kind::kCutOff, i};
    unsigned low = 0x80, high = 0xBF;
    if (i == 1 && lead == 0xE0) low = 0xA0;   // below: overlong
    if (i == 1 && lead == 0xED) high = 0x9F;  // above: surrogates
    if (i == 1 && lead == 0xF0) low = 0x90;   // below: overlong
    if (i == 1 && lead == 0xF4) high = 0x8F;  // above: more than U+10FFFF
    if (text[i] < low || text[i] > high) return {Kind::kMalformed, i};
  }
  return {Kind::kWhole, length};
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    while (at + sizeof eight <= text.size()) {
      std::memcpy(&eight, bytes + at, sizeof eight);
      if (eight & 0x8080808080808080u) break;
      at += sizeof eight;
    }
    if (at == text.size()) break;
    const Sequence next = sequence_at(bytes + at, text.size() - at);
    if (next.kind != Sequence::Kind::kWhole) return at;
    at += next.length;
  }
  return std::nullopt;
}

char32_t next_code_point(std::string_view text, size_t& at) {
  assert(at < text.size());
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const auto tail = [&](size_t i) { return char32_t{byte(i)} & 0x3F; };
  const char32_t lead = byte(0);
  char32_t result = lead;
  size_t length = 1;
  if (lead >= 0xF0) {
    result = (lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
    length = 4;
  } else if (lead >= 0xE0) {
    result = (lead & 0x0F) << 12 | tail(1) << 6 | tail(2);
    length = 3;
  } else if (lead >= 0xC0) {
    result = (lead & 0x1F) << 6 | tail(1);
    length = 2;
  }
  at += length;
  return result;
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto put = [&](char32_t value) { text.push_back(static_cast<char>(static_cast<unsigned char>(value))); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string text;
  size_t at = 0;
  while (at < pending_.size()) {
    const auto* left = reinterpret_cast<const unsigned char*>(pending_.data()) + at;
    const Sequence next = sequence_at(left, pending_.size() - at);
    if (next.kind == Sequence::Kind::kCutOff) break;
    if (next.kind == Sequence::Kind::kWhole)
      text.append(pending_, at, next.length);
    else
      append_utf8(kReplacementCharacter, text);
    at += next.length;
  }
  pending_.erase(0, at);
  return text;
}

std::string Utf8Stream::finish() {
  std::string text;
  if (!pending_.empty()) append_utf8(kReplacementCharacter, text);
  pending_.clear();
  return text;
}

}  // namespace engram
