#include "kernels/core/library_version.h"

#include <regex>

namespace engram {
namespace {

std::string first_number(const std::string& text) {
  static const std::regex pattern("[0-9]+([.][0-9]+)+");
  std::smatch match;
  return std::regex_search(text, match, pattern) ? match.str() : "";
}

}  // namespace

LibraryVersion library_version(const std::string& name, const std::string& built, const std::string& found) {
  return {.name = name, .built = first_number(built), .found = first_number(found)};
}

}  // namespace engram
