#pragma once

#include <string>
#include <utility>

namespace engram {

// An exclusive lock on a file that is made for it; the kernel frees it when the process ends, however it ends. Not
// inherited over exec.
class FileLock {
 public:
  // Waits for the lock where `wait`; otherwise held() tells whether it was free.
  FileLock(const std::string& path, bool wait);
  ~FileLock();
  FileLock(FileLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;

  bool held() const { return file_ >= 0; }

 private:
  int file_ = -1;
};

// True where no living process holds the lock; also where the file is not there.
bool is_free(const std::string& lock_path);

}  // namespace engram
