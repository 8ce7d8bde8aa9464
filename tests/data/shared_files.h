#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

// Where data tests find files.
namespace engram::test {

// A file of the development data that does not ship; tests skip where it is absent.
inline std::filesystem::path shared_file(const std::string& name) {
  const char* root = std::getenv("ENGRAM_SHARED");
  return (root ? std::filesystem::path(root) : std::filesystem::path(ENGRAM_SOURCE_DIR) / ".." / "shared") / name;
}

inline std::filesystem::path source_file(const std::string& name) {
  return std::filesystem::path(ENGRAM_SOURCE_DIR) / name;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace engram::test
