#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace engram {

// Byte offset of the first sequence that is not well-formed UTF-8 (overlong forms, surrogates and values above U+10FFFF
// included); nothing where the whole text is well-formed. Source: Unicode 15, table 3-7.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// The code point at text[at], advancing `at` past it. The text must be well-formed and `at` at the start of a sequence.
char32_t next_code_point(std::string_view text, size_t& at);

// Appends a scalar value as UTF-8.
void append_utf8(char32_t code_point, std::string& text);

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// Well-formed UTF-8 out of bytes that arrive in any pieces: the start of a character is held back until the rest comes,
// and each longest part of what cannot be a character becomes U+FFFD (Unicode 15, section 3.9), as in the `tokenizers`
// library's decoder.
class Utf8Stream {
 public:
  // The text that is certain by now.
  std::string push(std::string_view bytes);
  // What is left: U+FFFD where a character was begun, else nothing.
  std::string finish();

 private:
  std::string pending_;  // the start of a character
};

}  // namespace engram
