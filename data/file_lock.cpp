#include "data/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/core/check.h"

namespace engram {

FileLock::FileLock(const std::string& path, bool wait)
    : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  ENGRAM_CHECK_AS(IoError, file_ >= 0, path, ": cannot be opened: ", std::strerror(errno));
  int result = 0;
  do result = ::flock(file_, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  if (result == 0) return;
  const int error = errno;
  ::close(std::exchange(file_, -1));
  ENGRAM_CHECK_AS(IoError, error == EWOULDBLOCK, path, ": cannot be locked: ", std::strerror(error),
                  "; wanted a file system with flock()");
}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

bool is_free(const std::string& lock_path) {
  return !std::filesystem::exists(lock_path) || FileLock(lock_path, /*wait=*/false).held();
}

}  // namespace engram
