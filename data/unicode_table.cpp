#include "data/unicode_table.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace engram {
namespace {

// Key* and Canonical*: code point From[i] becomes To[End[i - 1]] .. To[End[i] - 1]; From ascends.
// Mark*: code points First[i] .. Last[i] have class Class[i]; ascending.
// Pair*: First[i] and Second[i] compose to Composite[i]; ascending by (First, Second).
#include "data/unicode_table.inc"

// Hangul syllables are made of jamo by arithmetic. Source: Unicode 15, section 3.12.
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11A7;
constexpr char32_t kNumLeads = 19, kNumVowels = 21, kNumTails = 28, kNumSyllables = kNumLeads * kNumVowels * kNumTails;

bool append_syllable(char32_t code_point, std::u32string& text) {
  const char32_t index = code_point - kSyllables;  // wraps below the first syllable
  if (index >= kNumSyllables) return false;
  text.push_back(kLeads + index / (kNumVowels * kNumTails));
  text.push_back(kVowels + index / kNumTails % kNumVowels);
  if (index % kNumTails != 0) text.push_back(kTails + index % kNumTails);
  return true;
}

void append_mapping(char32_t code_point, std::span<const uint32_t> from, std::span<const uint16_t> end,
                    std::span<const uint32_t> to, std::u32string& text) {
  const auto found = std::lower_bound(from.begin(), from.end(), code_point);
  if (found == from.end() || *found != code_point) return text.push_back(code_point);
  const auto i = static_cast<size_t>(found - from.begin());
  const size_t begin = i == 0 ? 0 : end[i - 1];
  text.append(to.begin() + begin, to.begin() + end[i]);
}

}  // namespace

void append_key_form(char32_t code_point, std::u32string& text) {
  if (append_syllable(code_point, text)) return;
  append_mapping(code_point, kKeyFrom, kKeyEnd, kKeyTo, text);
}

void append_canonical_decomposition(char32_t code_point, std::u32string& text) {
  if (append_syllable(code_point, text)) return;
  append_mapping(code_point, kCanonicalFrom, kCanonicalEnd, kCanonicalTo, text);
}

uint8_t combining_class(char32_t code_point) {
  const auto* range = std::upper_bound(std::begin(kMarkFirst), std::end(kMarkFirst), code_point);
  if (range == std::begin(kMarkFirst)) return 0;
  const auto i = range - std::begin(kMarkFirst) - 1;
  return code_point <= kMarkLast[i] ? kMarkClass[i] : 0;
}

std::optional<char32_t> compose(char32_t first, char32_t second) {
  if (first - kLeads < kNumLeads && second - kVowels < kNumVowels) {
    return kSyllables + ((first - kLeads) * kNumVowels + (second - kVowels)) * kNumTails;
  }
  const char32_t syllable = first - kSyllables, tail = second - kTails;
  if (syllable < kNumSyllables && syllable % kNumTails == 0 && tail > 0 && tail < kNumTails) return first + tail;

  const auto [begin, end] = std::equal_range(std::begin(kPairFirst), std::end(kPairFirst), first);
  const auto* seconds = kPairSecond + (begin - kPairFirst);
  const auto* seconds_end = kPairSecond + (end - kPairFirst);
  const auto* found = std::lower_bound(seconds, seconds_end, second);
  if (found == seconds_end || *found != second) return std::nullopt;
  return kPairComposite[found - kPairSecond];
}

bool composes_with_previous(char32_t code_point) {
  static const std::vector<char32_t> seconds = [] {
    std::vector<char32_t> sorted(std::begin(kPairSecond), std::end(kPairSecond));
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    return sorted;
  }();
  if (code_point - kVowels < kNumVowels) return true;
  if (code_point > kTails && code_point - kTails < kNumTails) return true;
  return std::binary_search(seconds.begin(), seconds.end(), code_point);
}

bool is_white_space(char32_t code_point) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
      {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [&](const auto& range) { return code_point >= range.first && code_point <= range.second; });
}

}  // namespace engram
