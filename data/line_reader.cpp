#include "data/line_reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace engram {

LineReader::LineReader(const std::string& path, int64_t max_line_bytes)
    : file_(path), max_line_bytes_(static_cast<size_t>(max_line_bytes)), buffer_(size_t{1} << 16) {}

bool LineReader::fill() {
  begin_ = 0;
  end_ = file_.read(buffer_);
  return end_ > 0;
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
