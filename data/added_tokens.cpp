#include "data/added_tokens.h"

#include <algorithm>
#include <cassert>

namespace engram {

void AddedTokens::add(std::string content, int32_t id) {
  assert(!content.empty());
  auto& lengths = lengths_[static_cast<unsigned char>(content[0])];
  if (std::find(lengths.begin(), lengths.end(), content.size()) == lengths.end()) lengths.push_back(content.size());
  std::sort(lengths.begin(), lengths.end(), std::greater<>());
  ids_.emplace(std::move(content), id);
}

AddedTokens::Found AddedTokens::find(std::string_view text, size_t from) const {
  for (size_t at = from; at < text.size(); ++at) {
    for (const size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
      if (length > text.size() - at) continue;
      const auto found = ids_.find(text.substr(at, length));
      if (found != ids_.end()) return {at, at + length, found->second};
    }
  }
  return {text.size(), text.size(), -1};
}

}  // namespace engram
