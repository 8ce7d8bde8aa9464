#include "data/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/core/check.h"

namespace engram {

namespace {

// 0 or errno.
int lock(int file, bool wait) {
  int result = 0;
  do result = ::flock(file, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

bool is_at(int file, const std::string& path) {
  struct stat own = {};
  struct stat there = {};
  return ::fstat(file, &own) == 0 && ::stat(path.c_str(), &there) == 0 && own.st_ino == there.st_ino &&
         own.st_dev == there.st_dev;
}

}  // namespace

// Whoever held the lock may have removed the file: then others lock a new one, and this one guards nothing.
FileLock::FileLock(const std::string& path, bool wait) {
  do {
    if (file_ >= 0) ::close(file_);
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ENGRAM_CHECK_AS(IoError, file_ >= 0, path, ": cannot be opened: ", std::strerror(errno));
    const int error = lock(file_, wait);
    if (error == 0) continue;
    ::close(std::exchange(file_, -1));
    ENGRAM_CHECK_AS(IoError, error == EWOULDBLOCK, path, ": cannot be locked: ", std::strerror(error),
                    "; wanted a file system with flock()");
    return;
  } while (!is_at(file_, path));
}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

bool is_free(const std::string& lock_path) {
  return !std::filesystem::exists(lock_path) || FileLock(lock_path, /*wait=*/false).held();
}

}  // namespace engram
