#include "data/parallel_encoder.h"

#include "tests/data/shared_files.h"
#include "tests/testing.h"

namespace engram {
namespace {

struct ParallelEncoderTest : ::testing::Test {
  BpeTokenizer tokenizer = BpeTokenizer::load(test::source_file("data/tokenizers/english_8k/tokenizer.json"));
  std::vector<std::string> texts{""};

  void SetUp() override {
    for (int i = 0; i < 500; ++i) {
      texts.push_back("Text " + std::to_string(i * i) + " of <|endoftext|> caf\u00E9s" + std::string(i % 50u, '.'));
    }
  }
};

TEST_F(ParallelEncoderTest, GivesTheSameIdsOnAnyNumberOfThreads) {
  for (const AddedTokenPolicy policy : {AddedTokenPolicy::kFind, AddedTokenPolicy::kText}) {
    std::vector<std::vector<int32_t>> expected;
    for (const std::string& text : texts) BpeEncoder(tokenizer).encode(text, expected.emplace_back(), policy);
    for (const int64_t num_threads : {1, 2, 3, 8}) {
      ParallelEncoder encoder(tokenizer, num_threads, policy);
      EXPECT_EQ(encoder.encode(texts), expected) << num_threads << " threads";
      EXPECT_EQ(encoder.encode(texts), expected) << num_threads << " threads, words known";
    }
  }
}

TEST_F(ParallelEncoderTest, TakesNoTextsAndFewerThanThreads) {
  ParallelEncoder encoder(tokenizer, 4, AddedTokenPolicy::kText);
  EXPECT_TRUE(encoder.encode({}).empty());
  const std::vector<std::string> one{"one"};
  EXPECT_EQ(encoder.encode(one).at(0), tokenizer.encode("one"));
}

TEST_F(ParallelEncoderTest, ThrowsTheFirstErrorAndGoesOnAfterwards) {
  texts[100].insert(3, 1, '\xFF');
  for (size_t i = 101; i < texts.size(); ++i) texts[i].insert(0, 1, '\xFF');
  for (const int64_t num_threads : {1, 4}) {
    ParallelEncoder encoder(tokenizer, num_threads, AddedTokenPolicy::kText);
    const std::string message = test::error_of([&] { encoder.encode(texts); });
    EXPECT_EQ(message.find("encode: the text is not UTF-8 at byte 3"), 0u) << message;
    EXPECT_EQ(encoder.encode(std::span(texts).first(100)).size(), 100u);
  }
}

}  // namespace
}  // namespace engram
