#include <set>

#include "data/bpe_tokenizer.h"
#include "tests/data/shared_files.h"
#include "tests/sha256.h"
#include "tests/testing.h"

namespace engram {
namespace {

std::vector<std::string> documents(const std::string& text) {
  constexpr std::string_view kEnd = "<|endoftext|>\n";
  std::vector<std::string> result;
  for (size_t at = 0, end; (end = text.find(kEnd, at)) != text.npos; at = end + kEnd.size()) {
    result.push_back(text.substr(at, end - at));
  }
  return result;
}

TEST(SampleTest, IsWhatItsAttributionSays) {
  const std::string attribution = test::read_file(test::source_file("data/sample/ATTRIBUTION.md"));
  for (const char* file : {"data/sample/train.txt", "data/sample/validation.txt"}) {
    const std::string text = test::read_file(test::source_file(file));
    EXPECT_NE(attribution.find(test::sha256(text.data(), text.size())), std::string::npos) << file;
  }
}

TEST(SampleTest, HoldsOutWholeDocuments) {
  const auto train = documents(test::read_file(test::source_file("data/sample/train.txt")));
  const auto validation = documents(test::read_file(test::source_file("data/sample/validation.txt")));
  EXPECT_EQ(train.size(), 1950u);
  EXPECT_EQ(validation.size(), 131u);
  const std::set<std::string> seen(train.begin(), train.end());
  EXPECT_EQ(seen.size(), train.size());
  for (const std::string& document : validation) EXPECT_FALSE(seen.contains(document)) << document.substr(0, 40);
}

TEST(SampleTest, SurvivesTheShippedTokenizer) {
  const auto tokenizer = BpeTokenizer::load(test::source_file("data/tokenizers/english_8k/tokenizer.json"));
  const std::string text = test::read_file(test::source_file("data/sample/validation.txt"));
  const std::vector<int32_t> ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.end_of_text().value()), 131);
  EXPECT_GT(double(text.size()) / double(ids.size()), 3.5);  // bytes per token
}

}  // namespace
}  // namespace engram
