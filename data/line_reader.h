#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace engram {

// The lines of a file, one after the other, plain or compressed by gzip. A line never takes more memory than allowed.
class LineReader {
 public:
  // Throws Error where the file cannot be opened.
  LineReader(const std::string& path, int64_t max_line_bytes);
  ~LineReader();

  // Moves to the next line; false at the end. Throws Error where the file cannot be read or its compressed data is
  // damaged or cut short.
  bool next();

  // The line, without its line feed; what fits of it where it is too long. Without a byte order mark on line 1.
  const std::string& line() const { return line_; }
  bool is_too_long() const { return is_too_long_; }
  // Counted from 1.
  int64_t number() const { return number_; }

 private:
  struct File;

  // Reads the next part of the file; false at its end.
  bool fill();

  std::string path_;
  size_t max_line_bytes_;
  std::unique_ptr<File> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // the part of buffer_ that is not yet in a line
  std::string line_;
  bool is_too_long_ = false;
  int64_t number_ = 0;
};

}  // namespace engram
