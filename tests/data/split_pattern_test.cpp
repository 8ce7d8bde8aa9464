#include "data/split_pattern.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

// Where the first match lies.
std::pair<size_t, size_t> found(const std::string& pattern, const std::string& text) {
  return SplitPattern::Search().find(SplitPattern(pattern, SplitPattern::Kind::kRegex), text, 0);
}

TEST(SplitPatternTest, KnowsTheCharactersOfUnicode16) {
  using Range = std::pair<size_t, size_t>;
  const std::string upper = "\u1c89", digit = "\U00011f50", symbol = "\u2427";
  EXPECT_EQ(found("\\p{L}+", "1a" + upper + "b1"), Range(1, 6));
  EXPECT_EQ(found("\\p{Lu}", "a" + upper), Range(1, 4));
  EXPECT_EQ(found("\\P{L}+", "a" + upper + "1" + symbol), Range(4, 8));
  EXPECT_EQ(found("[^\\s\\p{L}\\p{N}]+", upper + digit + symbol + "!"), Range(7, 11));
  EXPECT_EQ(found("\\d+", "1" + digit + "a"), Range(0, 5));
  EXPECT_EQ(found("\\D+", digit + "a1"), Range(4, 5));
  EXPECT_EQ(found("[\\p{S}-]+", "a-" + symbol), Range(1, 5));
  EXPECT_EQ(found("\\p{Ll}", upper), Range(3, 3));
}

}  // namespace
}  // namespace engram
