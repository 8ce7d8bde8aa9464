#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "data/split_pattern.h"

namespace engram {

// What becomes of the matches of a Split step: words of their own, dropped, or joined to the word before.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious };

// Cuts text into the words inside which byte pairs merge, as the "pre_tokenizer" entry of a tokenizer.json says:
// Split and ByteLevel steps, applied one after the other to each word that the step before left.
class PreTokenizer {
 public:
  // From the JSON value. Throws Error naming the type or option that is not understood.
  explicit PreTokenizer(const nlohmann::json& config);

  // What one thread needs for splitting; may be used with any PreTokenizer.
  struct Scratch {
    SplitPattern::Search search;
    std::vector<std::string_view> words, next_words;
  };

  // Words of a well-formed UTF-8 text, in order and never empty, as views into it. The result lies in `scratch`.
  const std::vector<std::string_view>& split(std::string_view text, Scratch& scratch) const;

 private:
  struct Step {
    SplitPattern pattern;
    SplitBehavior behavior;
    bool invert;  // what lies between matches counts as matched
  };
  void add_step(const nlohmann::json& config, bool is_last);
  void add_split(const nlohmann::json& config);

  std::vector<Step> steps_;
};

}  // namespace engram
