#pragma once

#include <string>
#include <string_view>

namespace engram {

// Normalization form C of a well-formed UTF-8 text, by the tables of unicode_table.h (Unicode 9.0).
std::string normalize_nfc(std::string_view text);

}  // namespace engram
