#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace engram {

// The printable alphabet in which byte-level vocabularies spell bytes: 33..126, 161..172 and 174..255 stand for
// themselves as code points, the other 68 bytes in ascending order are U+0100 .. U+0143. Source: GPT-2, encoder.py.
char32_t byte_to_letter(uint8_t byte);

// Bytes that a vocabulary entry stands for; nothing where it holds a character outside the alphabet. `piece` is UTF-8.
std::optional<std::string> bytes_of_piece(std::string_view piece);

}  // namespace engram
