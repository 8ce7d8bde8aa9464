#pragma once

#include <cstdint>
#include <optional>
#include <string>

// The Unicode data behind token compression and NFC: Unicode 9.0, with the lower case of a newer version, exactly as
// the Hugging Face `tokenizers` library has it. Rebuilt by scripts/make_unicode_table.py.
namespace engram {

// Appends what NFKC, then NFD, then removal of marks (General_Category M), then lower-casing make of one code point;
// often itself, sometimes nothing. The four steps work code point by code point.
void append_key_form(char32_t code_point, std::u32string& text);

// Appends the full canonical decomposition (NFD of the single code point), itself where it has none.
void append_canonical_decomposition(char32_t code_point, std::u32string& text);

// Canonical_Combining_Class; 0 for starters.
uint8_t combining_class(char32_t code_point);

// The primary composite of two code points, if there is one.
std::optional<char32_t> compose(char32_t first, char32_t second);

// True where compose(x, code_point) exists for some x.
bool composes_with_previous(char32_t code_point);

// White_Space: U+0009-000D, 0020, 0085, 00A0, 1680, 2000-200A, 2028, 2029, 202F, 205F, 3000.
bool is_white_space(char32_t code_point);

}  // namespace engram
