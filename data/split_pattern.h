#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace engram {

// A pattern of a tokenizer.json, compiled. Hugging Face runs these with Oniguruma; this is PCRE2 with the constructs
// rewritten on which the two differ (\s, \d, scripts, categories of newer characters), and those refused that have no
// exact counterpart (anchors, set operations and negated categories in classes, \w, intervals made possessive).
class SplitPattern {
 public:
  enum class Kind { kRegex, kString };

  // Throws Error naming what is wrong with the pattern or not understood in it. It may not match an empty text.
  SplitPattern(std::string_view pattern, Kind kind);

  // Buffers of a search; one per thread, for any number of patterns.
  class Search {
   public:
    Search();

    // First match in the well-formed UTF-8 `text` that starts at or after `from`: its begin and end. Both are
    // text.size() where there is none. Throws Error where the pattern needs too much backtracking.
    std::pair<size_t, size_t> find(const SplitPattern& pattern, std::string_view text, size_t from);

   private:
    struct Buffers;
    std::shared_ptr<Buffers> buffers_;
  };

 private:
  std::shared_ptr<void> code_;
};

}  // namespace engram
