#pragma once

#include <string>
#include <string_view>
#include <vector>

// Pages that need no other file: their style stands in them, light or dark as the reader's system is.
namespace engram {

// Text as it may stand between tags and in quoted attributes.
std::string escaped(std::string_view text);

// A row of a table; `tag` is th or td. Cells are text, not HTML.
std::string table_row(const char* tag, const std::vector<std::string>& cells);

// From <!DOCTYPE to <body>, and what ends the page.
std::string page_begin(std::string_view title);
std::string page_end();

}  // namespace engram
