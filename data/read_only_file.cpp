#include "data/read_only_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>

#include "kernels/core/check.h"

namespace engram {

ReadOnlyFile::ReadOnlyFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  ENGRAM_CHECK_AS(IoError, descriptor_ >= 0, path_, ": open failed: ", std::strerror(errno));
}

ReadOnlyFile::~ReadOnlyFile() { ::close(descriptor_); }

void ReadOnlyFile::read(int64_t first, std::span<std::byte> bytes) const {
  const auto end = first + static_cast<int64_t>(bytes.size());
  for (int64_t at = first; at < end;) {
    const std::span<std::byte> rest = bytes.subspan(static_cast<size_t>(at - first));
    const ssize_t count = ::pread(descriptor_, rest.data(), rest.size(), at);
    if (count < 0 && errno == EINTR) continue;
    ENGRAM_CHECK_AS(IoError, count >= 0, path_, ": reading bytes ", at, " to ", end, " failed: ", std::strerror(errno));
    ENGRAM_CHECK_AS(IoError, count > 0, path_, ": reading bytes ", at, " to ", end,
                    " failed: the file ends before them; it was cut off after it was opened");
    at += count;
  }
}

std::string ReadOnlyFile::identity() const {
  struct stat status {};
  ENGRAM_CHECK_AS(IoError, ::fstat(descriptor_, &status) == 0, path_, ": fstat failed: ", std::strerror(errno));
  std::ostringstream text;
  text << status.st_ino << ' ' << status.st_size << ' ' << status.st_mtim.tv_sec << ' ' << status.st_mtim.tv_nsec << ' '
       << status.st_ctim.tv_sec << ' ' << status.st_ctim.tv_nsec;
  return text.str();
}

}  // namespace engram
