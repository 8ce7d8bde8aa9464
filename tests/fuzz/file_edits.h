#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace engram::fuzz {

// A file with what the input changes in it, so that inputs are short and keep up with the format. The input is a row of
// edits: three bytes say where (low byte first, modulo the file's size), one how many bytes follow to be put there; a
// number above 16 cuts the file off there.
inline std::string edited(std::string file, std::string_view input) {
  constexpr size_t kHeadBytes = 4, kMaxBytes = 16;
  const auto byte = [&](size_t i) { return size_t{static_cast<unsigned char>(input[i])}; };
  while (input.size() >= kHeadBytes && !file.empty()) {
    const size_t at = (byte(0) | byte(1) << 8 | byte(2) << 16) % file.size(), count = byte(3);
    input.remove_prefix(kHeadBytes);
    if (count > kMaxBytes) {
      file.resize(at);
      continue;
    }
    const std::string_view bytes = input.substr(0, std::min(count, file.size() - at));
    std::ranges::copy(bytes, file.begin() + static_cast<std::ptrdiff_t>(at));
    input.remove_prefix(bytes.size());
  }
  return file;
}

}  // namespace engram::fuzz
