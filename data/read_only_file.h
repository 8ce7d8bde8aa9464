#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace engram {

// A file that is open for reading at any place, by any number of threads. Nothing of it is mapped, so that one that
// shrinks meanwhile gives an error and no signal. Throws IoError with path, call and the system's reason.
class ReadOnlyFile {
 public:
  explicit ReadOnlyFile(const std::string& path);
  ~ReadOnlyFile();
  ReadOnlyFile(const ReadOnlyFile&) = delete;
  ReadOnlyFile& operator=(const ReadOnlyFile&) = delete;

  // Fills `bytes` from byte `first` of the file on.
  void read(int64_t first, std::span<std::byte> bytes) const;
  // Equal for one file on every host that sees it, and, but for disks that are copies of each other, for that alone:
  // its number, size and times.
  std::string identity() const;

 private:
  std::string path_;
  int descriptor_;
};

}  // namespace engram
