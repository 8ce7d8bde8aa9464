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

}  // namespace engram
