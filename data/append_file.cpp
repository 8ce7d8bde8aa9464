#include "data/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/check.h"

namespace engram {

AppendFile::AppendFile(std::string path) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  ENGRAM_CHECK_AS(IoError, file_ >= 0, path_, ": cannot be opened for writing: ", std::strerror(errno));
}

AppendFile::~AppendFile() {
  if (file_ >= 0) ::close(file_);
}

void AppendFile::flush() {
  while (!unwritten_.empty()) {
    const ssize_t count = ::write(file_, unwritten_.data(), unwritten_.size());
    if (count < 0 && errno == EINTR) continue;
    ENGRAM_CHECK_AS(IoError, count > 0, path_, ": cannot be written: ", std::strerror(errno), "; is the disk full?");
    unwritten_.erase(0, static_cast<size_t>(count));
  }
}

void AppendFile::sync() {
  flush();
  ENGRAM_CHECK_AS(IoError, ::fsync(file_) == 0, path_, ": cannot be synced: ", std::strerror(errno),
                  "; is the disk full?");
}

}  // namespace engram
