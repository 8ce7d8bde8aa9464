#include "data/encoded_block.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "data/atomic_file.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

// What a file begins with; the ends of the documents and their tokens follow.
struct Header {
  char key[32];
  char digest[32];  // of all that comes after it, the counts included
  uint64_t num_documents;
  uint64_t num_tokens;
};
constexpr size_t kDigestedFrom = offsetof(Header, num_documents);

template <class T>
void append_bytes(std::string& contents, std::span<const T> values) {
  contents.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

struct Mapping {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;
};

// Nothing where the file is not there or too short for a header.
Mapping map_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return {};
  ENGRAM_CHECK_AS(IoError, file >= 0, path, ": open failed: ", std::strerror(errno));
  struct stat status {};
  const bool is_known = ::fstat(file, &status) == 0;
  const auto num_bytes = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (is_known && num_bytes >= sizeof(Header)) data = ::mmap(nullptr, num_bytes, PROT_READ, MAP_SHARED, file, 0);
  const int error = errno;
  ::close(file);
  ENGRAM_CHECK_AS(IoError, is_known && data != MAP_FAILED, path, ": cannot be mapped: ", std::strerror(error));
  if (data == nullptr) return {};
  return {.owner = std::shared_ptr<const void>(data, [num_bytes, data](const void*) { ::munmap(data, num_bytes); }),
          .bytes = {static_cast<const std::byte*>(data), num_bytes}};
}

}  // namespace

void EncodedBlock::write(const std::string& path, const std::string& key,
                         std::span<const std::vector<int32_t>> documents) {
  Header header{.key = {}, .digest = {}, .num_documents = documents.size(), .num_tokens = 0};
  std::vector<uint64_t> ends;
  for (const auto& document : documents) ends.push_back(header.num_tokens += document.size());
  ENGRAM_CHECK(key.size() == sizeof header.key, path, ": key \"", key, "\"; wanted ", sizeof header.key, " characters");
  key.copy(header.key, sizeof header.key);
  std::string contents;
  contents.reserve(sizeof header + sizeof(uint64_t) * ends.size() + sizeof(int32_t) * header.num_tokens);
  append_bytes(contents, std::span<const Header>(&header, 1));
  append_bytes(contents, std::span<const uint64_t>(ends));
  for (const auto& document : documents) append_bytes(contents, std::span<const int32_t>(document));
  const std::string digest = digest_of(std::as_bytes(std::span(contents)).subspan(kDigestedFrom));
  digest.copy(contents.data() + offsetof(Header, digest), sizeof header.digest);
  write_file_atomically(path, contents);
}

std::optional<EncodedBlock> EncodedBlock::open(const std::string& path, const std::string& key) {
  const auto [owner, bytes] = map_file(path);
  if (bytes.empty()) return std::nullopt;
  const auto& header = *reinterpret_cast<const Header*>(bytes.data());
  const bool is_ours = std::string_view(header.key, sizeof header.key) == key &&
                       std::string_view(header.digest, sizeof header.digest) == digest_of(bytes.subspan(kDigestedFrom));
  if (!is_ours) return std::nullopt;
  EncodedBlock block;
  block.mapping_ = owner;
  const auto* ends = reinterpret_cast<const uint64_t*>(&header + 1);
  block.ends_ = {ends, header.num_documents};
  block.tokens_ = {reinterpret_cast<const int32_t*>(ends + header.num_documents), header.num_tokens};
  return block;
}

std::span<const int32_t> EncodedBlock::document(int64_t i) const {
  const auto at = static_cast<size_t>(i);
  const size_t first = i == 0 ? 0 : ends_[at - 1];
  return tokens_.subspan(first, ends_[at] - first);
}

}  // namespace engram
