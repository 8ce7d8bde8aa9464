#include "data/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "data/known_keys.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

using nlohmann::json;

// Source: GPT-2, encoder.py; what "use_regex" of a ByteLevel step stands for.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

bool flag(const json& config, const char* key, bool fallback) {
  const json value = config.value(key, json(fallback));
  ENGRAM_CHECK(value.is_boolean(), "pre_tokenizer: ", key, ": got ", value.dump(), ", wanted true or false");
  return value.get<bool>();
}

std::string text_of(const json& config, const char* key) {
  const bool present = config.is_object() && config.contains(key) && config[key].is_string();
  ENGRAM_CHECK(present, "pre_tokenizer: no text \"", key, "\" in ", config.dump().substr(0, 200));
  return config[key].get<std::string>();
}

// Collects the parts of one word, each matched or not, into words.
class Collector {
 public:
  Collector(SplitBehavior behavior, std::vector<std::string_view>& words)
      : behavior_(behavior), words_(words), first_(words.size()) {}

  void add(std::string_view part, bool matched) {
    if (part.empty()) return;
    const bool join =
        behavior_ == SplitBehavior::kMergedWithPrevious && matched && !previous_matched_ && words_.size() > first_;
    previous_matched_ = matched;
    if (behavior_ == SplitBehavior::kRemoved && matched) return;
    if (join)
      words_.back() = {words_.back().data(), words_.back().size() + part.size()};
    else
      words_.push_back(part);
  }

 private:
  const SplitBehavior behavior_;
  std::vector<std::string_view>& words_;
  const size_t first_;  // words before this one belong to other words of the step before
  bool previous_matched_ = false;
};

}  // namespace

PreTokenizer::PreTokenizer(const json& config) {
  const std::string type = text_of(config, "type");
  if (type != "Sequence") {
    add_step(config, true);
    return;
  }
  const json& steps = config.value("pretokenizers", json());
  ENGRAM_CHECK(steps.is_array() && !steps.empty(), "pre_tokenizer: a Sequence without \"pretokenizers\"");
  for (size_t i = 0; i < steps.size(); ++i) add_step(steps[i], i + 1 == steps.size());
}

void PreTokenizer::add_step(const json& config, bool is_last) {
  const std::string type = text_of(config, "type");
  if (type == "Split") {
    ENGRAM_CHECK(!is_last,
                 "pre_tokenizer: the last step is Split, wanted ByteLevel (only byte-level BPE is supported)");
    return add_split(config);
  }
  ENGRAM_CHECK(type == "ByteLevel", "pre_tokenizer: type ", type,
               " is not supported; supported: Sequence, Split, ByteLevel");
  check_keys(config, "pre_tokenizer: ByteLevel", {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  ENGRAM_CHECK(is_last, "pre_tokenizer: ByteLevel before the last step is not supported");
  ENGRAM_CHECK(!flag(config, "add_prefix_space", true),
               "pre_tokenizer: ByteLevel with add_prefix_space is not supported");
  if (!flag(config, "use_regex", true)) return;
  steps_.push_back({SplitPattern(kByteLevelPattern, SplitPattern::Kind::kRegex), SplitBehavior::kIsolated, false});
}

void PreTokenizer::add_split(const json& config) {
  check_keys(config, "pre_tokenizer: Split", {"type", "pattern", "behavior", "invert"});
  const json pattern = config.value("pattern", json());
  const bool is_regex = pattern.is_object() && pattern.contains("Regex");
  const std::string text = text_of(pattern, is_regex ? "Regex" : "String");
  const std::string name = text_of(config, "behavior");
  SplitBehavior behavior{};
  if (name == "Isolated") {
    behavior = SplitBehavior::kIsolated;
  } else if (name == "Removed") {
    behavior = SplitBehavior::kRemoved;
  } else if (name == "MergedWithPrevious") {
    behavior = SplitBehavior::kMergedWithPrevious;
  } else {
    ENGRAM_FAIL("pre_tokenizer: Split with behavior ", name,
                " is not supported; supported: Isolated, Removed, MergedWithPrevious");
  }
  const auto kind = is_regex ? SplitPattern::Kind::kRegex : SplitPattern::Kind::kString;
  steps_.push_back({SplitPattern(text, kind), behavior, flag(config, "invert", false)});
}

const std::vector<std::string_view>& PreTokenizer::split(std::string_view text, Scratch& scratch) const {
  scratch.words.clear();
  if (!text.empty()) scratch.words.push_back(text);
  for (const Step& step : steps_) {
    scratch.next_words.clear();
    for (const std::string_view word : scratch.words) {
      Collector collector(step.behavior, scratch.next_words);
      for (size_t at = 0; at < word.size();) {
        const auto [begin, end] = scratch.search.find(step.pattern, word, at);
        collector.add(word.substr(at, begin - at), step.invert);
        collector.add(word.substr(begin, end - begin), !step.invert);
        at = end;
      }
    }
    scratch.words.swap(scratch.next_words);
  }
  return scratch.words;
}

}  // namespace engram
