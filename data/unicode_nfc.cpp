#include "data/unicode_nfc.h"

#include <algorithm>

#include "data/unicode_table.h"
#include "data/utf8.h"

namespace engram {
namespace {

// Puts each run of marks into the order of their classes, equal ones as they stand.
void order_marks(std::u32string& text) {
  const auto is_starter = [](char32_t c) { return combining_class(c) == 0; };
  for (auto begin = text.begin(); begin != text.end();) {
    begin = std::find_if_not(begin, text.end(), is_starter);
    const auto end = std::find_if(begin, text.end(), is_starter);
    const auto less = [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); };
    if (end - begin > 1) std::stable_sort(begin, end, less);
    begin = end;
  }
}

// Joins each starter with the later characters that nothing blocks from it.
void compose_all(std::u32string& text) {
  size_t size = 0, starter = 0;
  bool has_starter = false;
  uint8_t last_class = 0;  // of the last character kept after the starter
  for (const char32_t c : text) {
    const uint8_t c_class = combining_class(c);
    const bool adjacent = has_starter && starter + 1 == size;
    if (has_starter && (adjacent || last_class < c_class)) {
      if (const auto composite = compose(text[starter], c)) {
        text[starter] = *composite;
        continue;
      }
    }
    last_class = c_class;
    if (c_class == 0) {
      starter = size;
      has_starter = true;
    }
    text[size++] = c;
  }
  text.resize(size);
}

// True where NFC changes neither the character nor what stands before it, unless marks follow.
bool starts_anew(char32_t c) {
  constexpr char32_t kFirstMark = 0x300;
  if (c < kFirstMark) return true;
  if (combining_class(c) != 0 || composes_with_previous(c)) return false;
  std::u32string points;
  append_canonical_decomposition(c, points);
  if (combining_class(points[0]) != 0 || composes_with_previous(points[0])) return false;
  compose_all(points);
  return points.size() == 1 && points[0] == c;
}

void append_normalized(std::string_view text, std::string& result) {
  std::u32string points;
  for (size_t at = 0; at < text.size();) append_canonical_decomposition(next_code_point(text, at), points);
  order_marks(points);
  compose_all(points);
  for (const char32_t c : points) append_utf8(c, result);
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  size_t copied = 0, base = 0;  // the text before `copied` is in the result; the last character begins at `base`
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (starts_anew(next_code_point(text, at))) {
      base = begin;
      continue;
    }
    for (size_t next = at; at < text.size() && !starts_anew(next_code_point(text, next));) at = next;
    result += text.substr(copied, base - copied);
    append_normalized(text.substr(base, at - base), result);
    copied = base = at;
  }
  return result += text.substr(copied);
}

}  // namespace engram
