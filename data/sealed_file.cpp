#include "data/sealed_file.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr std::string_view kExcept = " except bytes ", kTo = " to ";

std::string beginning(const std::string& format) { return format + "; digest of all behind byte 512"; }

// The whole block: text, then zero bytes.
std::string seal_of(const std::string& path, const std::string& format, const ByteRange& skipped) {
  std::string seal = beginning(format);
  if (!skipped.empty()) seal.append(kExcept) += std::to_string(skipped.begin) + " to " + std::to_string(skipped.end);
  seal += " (XXH3-128):\n" + digest_of_file(path, kSealBytes, skipped) + "\n";
  seal.resize(kSealBytes, '\0');
  return seal;
}

// The first bytes of a file, zeros where it is shorter or a directory.
std::string read_block(const std::string& path) {
  std::string block(kSealBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  ENGRAM_CHECK_AS(IoError, file.is_open() || errno == ENOENT, path, ": open failed: ", std::strerror(errno));
  ENGRAM_CHECK(file.is_open(), path, ": open failed: ", std::strerror(errno));
  errno = 0;
  file.read(block.data(), kSealBytes);
  ENGRAM_CHECK_AS(IoError, !file.bad() || errno == EISDIR, path, ": read failed: ", std::strerror(errno));
  return block;
}

// Takes a number off the text's front.
int64_t take_number(std::string_view& text) {
  int64_t number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc() ? number : -1;
}

// Nothing where the numbers are none that a file of this size could have.
std::optional<ByteRange> skipped_range(std::string_view block, const std::string& format, int64_t num_bytes) {
  block.remove_prefix(beginning(format).size());
  if (!block.starts_with(kExcept)) return ByteRange{};
  block.remove_prefix(kExcept.size());
  ByteRange range{.begin = take_number(block)};
  if (!block.starts_with(kTo)) return std::nullopt;
  block.remove_prefix(kTo.size());
  range.end = take_number(block);
  const bool fits = kSealBytes <= range.begin && range.begin < range.end && range.end <= num_bytes;
  return fits ? std::optional(range) : std::nullopt;
}

int64_t size_of_file(const std::string& path) { return static_cast<int64_t>(std::filesystem::file_size(path)); }

}  // namespace

void seal_file(const std::string& path, const std::string& format, const ByteRange& skipped) {
  const std::string seal = seal_of(path, format, skipped);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.write(seal.data(), kSealBytes);
  file.close();
  ENGRAM_CHECK_AS(IoError, file, path, ": its first bytes cannot be written");
}

bool begins_like(const std::string& path, const std::string& format) {
  return read_block(path).starts_with(beginning(format));
}

ByteRange check_seal(const std::string& path, const std::string& format) {
  const std::string found = read_block(path);
  ENGRAM_CHECK(found.starts_with(beginning(format)), path, ": is no ", format);
  const std::optional<ByteRange> skipped = skipped_range(found, format, size_of_file(path));
  ENGRAM_CHECK(skipped && found == seal_of(path, format, *skipped), path,
               ": its bytes do not have the digest that it was given; the file was altered or cut off");
  return *skipped;
}

ByteRange range_without_seal(const std::string& path, const std::string& format) {
  const std::string found = read_block(path);
  if (!found.starts_with(beginning(format))) return {};
  return skipped_range(found, format, size_of_file(path)).value_or(ByteRange{});
}

}  // namespace engram
