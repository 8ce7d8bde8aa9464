#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace engram {

// Finds the spellings of added tokens in text: the leftmost first, of several there the longest.
class AddedTokens {
 public:
  // `content` must not be empty.
  void add(std::string content, int32_t id);
  bool empty() const { return ids_.empty(); }

  struct Found {
    size_t begin, end;  // text.size() twice where there is none
    int32_t id;
  };
  // The first added token at or after `from`.
  Found find(std::string_view text, size_t from) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::array<std::vector<size_t>, 256> lengths_;  // by first byte: the lengths there are, longest first
};

}  // namespace engram
