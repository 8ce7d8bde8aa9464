#include "data/line_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "kernels/core/check.h"

namespace engram {

struct LineReader::File {
  gzFile handle;

  explicit File(const std::string& path) : handle(gzopen(path.c_str(), "rb")) {
    ENGRAM_CHECK(handle != nullptr, path, ": open failed: ", std::strerror(errno));
  }
  ~File() { gzclose(handle); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
};

LineReader::LineReader(const std::string& path, int64_t max_line_bytes)
    : path_(path),
      max_line_bytes_(static_cast<size_t>(max_line_bytes)),
      file_(std::make_unique<File>(path)),
      buffer_(size_t{1} << 18) {}

LineReader::~LineReader() = default;

bool LineReader::fill() {
  const int count = gzread(file_->handle, buffer_.data(), static_cast<unsigned>(buffer_.size()));
  if (count <= 0) {
    int code = Z_OK;
    const char* reason = gzerror(file_->handle, &code);
    ENGRAM_CHECK(code == Z_OK, path_, ": read failed after line ", number_, ": ",
                 code == Z_ERRNO ? std::strerror(errno) : reason);
  }
  begin_ = 0;
  end_ = static_cast<size_t>(count);
  return count > 0;
}

bool LineReader::next() {
  line_.clear();
  is_too_long_ = false;
  bool is_whole = false;
  while (!is_whole) {
    if (begin_ == end_ && !fill()) {
      if (line_.empty() && !is_too_long_) return false;
      break;
    }
    const char* first = buffer_.data() + begin_;
    const auto* feed = static_cast<const char*>(std::memchr(first, '\n', end_ - begin_));
    is_whole = feed != nullptr;
    const size_t count = is_whole ? static_cast<size_t>(feed - first) : end_ - begin_;
    is_too_long_ |= line_.size() + count > max_line_bytes_;
    line_.append(first, std::min(count, max_line_bytes_ - line_.size()));
    begin_ += count + (is_whole ? 1 : 0);
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (++number_ == 1 && line_.starts_with(kByteOrderMark)) line_.erase(0, kByteOrderMark.size());
  return true;
}

}  // namespace engram
