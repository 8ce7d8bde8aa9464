#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/text_file.h"

namespace engram {

// The lines of a file, plain or compressed (TextFile), one after the other. A line never takes more memory than
// allowed.
class LineReader {
 public:
  // Throws Error where the file cannot be opened.
  LineReader(const std::string& path, int64_t max_line_bytes);

  // Moves to the next line; false at the end. Throws Error as TextFile::read().
  bool next();

  // The line, without its line feed; what fits of it where it is too long. Without a byte order mark on line 1.
  const std::string& line() const { return line_; }
  bool is_too_long() const { return is_too_long_; }
  // Counted from 1.
  int64_t number() const { return number_; }
  const TextFile& file() const { return file_; }

 private:
  // Reads the next part of the file; false at its end.
  bool fill();

  TextFile file_;
  size_t max_line_bytes_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // the part of buffer_ that is not yet in a line
  std::string line_;
  bool is_too_long_ = false;
  int64_t number_ = 0;
};

}  // namespace engram
