#include "trainer/eval_tokens.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/testing.h"

namespace engram {
namespace {

struct EvalTokensTest : ::testing::Test {
  ScoredTokens split(const std::string& context, const std::string& continuation) {
    return tokens_of(encoder, kStart, {context, continuation});
  }
  // Bytes of the tokens that are scored.
  std::string scored(const ScoredTokens& text) const {
    return tokenizer.decode({text.tokens.end() - text.num_scored, text.tokens.end()});
  }
  // All tokens after the start.
  std::string whole(const ScoredTokens& text) const {
    return tokenizer.decode({text.tokens.begin() + 1, text.tokens.end()});
  }

  static constexpr int32_t kStart = 0;
  const BpeTokenizer tokenizer =
      BpeTokenizer::load(std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json");
  BpeEncoder encoder{tokenizer};
};

TEST_F(EvalTokensTest, ASpaceBelongsToWhatFollows) {
  for (const auto& [context, continuation] : std::vector<std::pair<std::string, std::string>>{
           {"The capital of France is", " Paris"}, {"The capital of France is ", "Paris"}}) {
    const ScoredTokens got = split(context, continuation);
    EXPECT_EQ(got.tokens[0], kStart);
    EXPECT_EQ(whole(got), "The capital of France is Paris");
    EXPECT_EQ(scored(got), " Paris");
    const std::vector<int32_t> without_start(got.tokens.begin() + 1, got.tokens.end());
    EXPECT_EQ(without_start, tokenizer.encode("The capital of France is Paris"));
  }
  EXPECT_EQ(scored(split("Question: why?\nAnswer:\n\n", "So.")), "\n\nSo.");
}

TEST_F(EvalTokensTest, ATokenOverTheBoundaryIsScored) {
  ASSERT_EQ(tokenizer.encode(" because").size(), 1u) << "the case needs a word of one token";
  const ScoredTokens got = split("It is so beca", "use of it");
  EXPECT_EQ(scored(got), " because of it");
  EXPECT_EQ(whole(got), "It is so because of it");
}

TEST_F(EvalTokensTest, WithoutContextEverythingIsScored) {
  const ScoredTokens got = split("", "A text.");
  EXPECT_EQ(scored(got), "A text.");
  EXPECT_EQ(std::ssize(got.tokens), got.num_scored + 1);
  EXPECT_EQ(scored(split("  ", "A text.")), "  A text.");
}

TEST_F(EvalTokensTest, AddedTokensStayText) {
  const ScoredTokens got = split("Ends", " <|endoftext|>");
  EXPECT_GT(got.num_scored, 1);
  EXPECT_EQ(scored(got), " <|endoftext|>");
}

TEST_F(EvalTokensTest, RefusesAnEmptyContinuation) {
  EXPECT_NE(test::error_of([&] { split("some", ""); }).find("nothing to score after \"some\""), std::string::npos);
}

TEST(Windows, ScoreEveryTokenOnceWithAllThatTheModelSeesBefore) {
  constexpr int64_t kSeqLen = 5, kHistory = 2;
  for (int64_t num_tokens = 2; num_tokens < 30; ++num_tokens) {
    for (int64_t num_scored = 1; num_scored < num_tokens; ++num_scored) {
      ScoredTokens all{.tokens = std::vector<int32_t>(static_cast<size_t>(num_tokens)), .num_scored = num_scored};
      std::iota(all.tokens.begin(), all.tokens.end(), 0);  // a token says where it was
      int32_t next = static_cast<int32_t>(num_tokens - num_scored);
      for (const ScoredTokens& window : windows_of(all, kSeqLen, kHistory)) {
        ASSERT_LE(window.num_scored, kSeqLen);
        const int32_t end = next + static_cast<int32_t>(window.num_scored);
        ASSERT_EQ(window.tokens.back(), end - 1);
        EXPECT_EQ(window.tokens.front(), std::max<int64_t>(0, end - 1 - kSeqLen - kHistory));
        ASSERT_EQ(std::ssize(window.tokens), end - window.tokens.front());
        next = end;
      }
      EXPECT_EQ(next, num_tokens);
    }
  }
}

}  // namespace
}  // namespace engram
