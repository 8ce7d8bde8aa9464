#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace engram {

// The name without .gz, .xz or .zst where it ends in one: "a.txt" of "a.txt.gz".
std::string_view without_compression(std::string_view path);

// Reads a file from its beginning, decompressed where its name ends in .gz, .xz or .zst; members or frames may follow
// one another. Neither data that ends early nor data that is damaged, as far as the format's checksums tell, ends as a
// shorter file: it is an Error that names the file. So is compressed data that wants more than 2 GiB of memory.
class TextFile {
 public:
  // Throws Error where the file cannot be opened.
  explicit TextFile(const std::string& path);
  ~TextFile();

  // Fills `out` from its beginning; returns the number of bytes, less than out.size() only at the end of the file.
  // Throws Error where the file cannot be read.
  size_t read(std::span<char> out);

  // Of the file's own bytes, compressed as they are: XXH3-128 as 32 hexadecimal digits. Only at the end of the file.
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace engram
