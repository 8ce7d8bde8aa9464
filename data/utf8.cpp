#include "data/utf8.h"

#include <cassert>
#include <cstring>

namespace engram {
namespace {

// Bytes of the well-formed sequence at `text`, 0 where there is none; `left` bytes may be read.
size_t sequence_length(const unsigned char* text, size_t left) {
  const auto continues = [&](size_t i) { return i < left && (text[i] & 0xC0) == 0x80; };
  const auto second_in = [&](unsigned low, unsigned high) { return left > 1 && text[1] >= low && text[1] <= high; };
  const unsigned lead = text[0];
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool second = second_in(lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF);
    return second && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool second = second_in(lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF);
    return second && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
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
    const size_t length = sequence_length(bytes + at, text.size() - at);
    if (length == 0) return at;
    at += length;
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

}  // namespace engram
