#pragma once

#include <string>
#include <string_view>

namespace engram {

// A file that only grows. Whatever was appended is one write, so that a killed process leaves whole records behind. All
// functions throw IoError with the path and the system's reason.
class AppendFile {
 public:
  // Opens the file, made where it is missing.
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view bytes) { unwritten_ += bytes; }
  // Writes what was appended. What the system refuses stays for the next call, in its order.
  void flush();
  // The same, and brings it to the disk.
  void sync();

 private:
  std::string path_, unwritten_;
  int file_ = -1;
};

}  // namespace engram
