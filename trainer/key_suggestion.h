#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace engram {

// Fewest insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal string alignment;
// Damerau 1964). Bytes, not characters.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidates nearest to `name`, at most 2 edits away and fewer than the name is long; several where they tie, the
// likelier first; empty where none is near.
std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates);

// "; did you mean "a" or "b"?", empty for no names.
std::string suggestion_text(const std::vector<std::string>& names);

}  // namespace engram
