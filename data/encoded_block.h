#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace engram {

// Tokens of consecutive documents in a file of their own, mapped into memory. A build of a token store leaves them
// behind when it is ended early, and takes them over when it is started again.
class EncodedBlock {
 public:
  // Writes a block, complete or not at all. `key` (32 characters) says what it was made from.
  static void write(const std::string& path, const std::string& key, std::span<const std::vector<int32_t>> documents);

  // The block in that file; nothing where there is none, where it has another key, and where it is damaged.
  static std::optional<EncodedBlock> open(const std::string& path, const std::string& key);

  int64_t num_documents() const { return static_cast<int64_t>(ends_.size()); }
  std::span<const int32_t> document(int64_t i) const;

 private:
  std::shared_ptr<const void> mapping_;
  std::span<const uint64_t> ends_;  // of each document in tokens_
  std::span<const int32_t> tokens_;
};

}  // namespace engram
