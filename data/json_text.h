#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace engram {

// The string that the JSON object `json` has in `field`, the last where it has several. Nothing where `json` is
// something else or the field is missing or no string; `problem` then gets what is wrong. Takes no memory for nesting,
// and none for other fields.
std::optional<std::string> json_text(std::string_view json, std::string_view field, std::string& problem);

}  // namespace engram
