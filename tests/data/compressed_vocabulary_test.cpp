#include "data/compressed_vocabulary.h"

#include <map>

#include "data/bpe_tokenizer.h"
#include "tests/data/shared_files.h"
#include "tests/golden.h"
#include "tests/sha256.h"
#include "tests/testing.h"

namespace engram {
namespace {

using nlohmann::json;

const std::vector<std::pair<std::string, std::string>> kTokenizers{
    {"DeepSeek-V3", "deepseek-v3"}, {"GPT-2", "gpt2"}, {"Llama 3", "llama3"}, {"Qwen2.5", "qwen2.5"}};

json golden_vocabulary(const std::string& name) {
  const json golden = test::golden("engram_hash.json");
  for (const json& entry : golden["compression"]["vocabularies"]) {
    if (entry["tokenizer"] == name) return entry;
  }
  ENGRAM_FAIL("golden: no vocabulary ", name);
}

std::filesystem::path tokenizer_file(const std::string& folder) {
  return test::shared_file("data/tokenizers/" + folder + "/tokenizer.json");
}

std::vector<int64_t> largest_classes(const CompressedVocabulary& vocabulary, size_t count) {
  std::map<int32_t, int64_t> members;
  for (const int32_t key : vocabulary.map()) ++members[key];
  std::vector<int64_t> sizes;
  for (const auto& [key, size] : members) sizes.push_back(size);
  std::sort(sizes.rbegin(), sizes.rend());
  sizes.resize(count);
  return sizes;
}

struct GoldenVocabularyTest : ::testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(GoldenVocabularyTest, IsReproduced) {
  const auto& [name, folder] = GetParam();
  const auto path = tokenizer_file(folder);
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const json golden = golden_vocabulary(name);
  const std::string file = test::read_file(path);
  ASSERT_EQ(test::sha256(file.data(), file.size()), golden["file_sha256"]);

  const CompressedVocabulary vocabulary(BpeTokenizer::load(path));
  EXPECT_EQ(vocabulary.vocabulary_size(), golden["ids"]);
  EXPECT_EQ(vocabulary.num_keys(), golden["keys"]);
  EXPECT_EQ(vocabulary.vocabulary_size() - vocabulary.num_keys(), golden["merged"]);
  EXPECT_EQ(largest_classes(vocabulary, golden["largest_classes"].size()), golden["largest_classes"]);
  EXPECT_EQ(vocabulary.digest(), golden["sha256_int64le"]);
  for (const json& sample : golden["samples_id_key"]) EXPECT_EQ(vocabulary.key_of(sample[0]), sample[1]) << sample;
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, GoldenVocabularyTest, ::testing::ValuesIn(kTokenizers));

TEST(CompressedVocabularyTest, TheReleasedModelHasDistinctKeysAfterTheTextTokens) {
  const auto path = tokenizer_file("deepseek-v3");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  std::vector<int32_t> map = CompressedVocabulary(BpeTokenizer::load(path)).map();
  map.resize(128'000);
  int32_t next = *std::max_element(map.begin(), map.end());
  for (int i = 0; i < 1'280; ++i) map.push_back(++next);

  const CompressedVocabulary vocabulary(map);
  const json golden = golden_vocabulary("DeepSeek-V4.1");
  EXPECT_EQ(vocabulary.vocabulary_size(), golden["ids"]);
  EXPECT_EQ(vocabulary.num_keys(), golden["keys"]);
  EXPECT_EQ(vocabulary.digest(), golden["sha256_int64le"]);
  for (const int32_t id : {0, 2, 3}) EXPECT_EQ(vocabulary.key_of(id), id);  // 2 is the pad id
}

TEST(CompressionKeyTest, MatchesTheGoldenStrings) {
  const json golden = test::golden("engram_hash.json")["compression"]["normalise"];
  EXPECT_EQ(golden.size(), 85u);
  for (const json& entry : golden) {
    const auto text = entry["text"].get<std::string>();
    EXPECT_EQ(compression_key(text), entry["key"].get<std::string>()) << entry;
    if (entry["fallback"]) {
      EXPECT_EQ(compression_key(text), text) << entry;
    }
  }
}

TEST(CompressedVocabularyTest, TheShippedTokenizerMergesCaseAndSpace) {
  const auto tokenizer = BpeTokenizer::load(test::source_file("data/tokenizers/english_8k/tokenizer.json"));
  const CompressedVocabulary vocabulary(tokenizer);
  EXPECT_EQ(vocabulary.vocabulary_size(), 8192);
  EXPECT_LT(vocabulary.num_keys(), 8192);
  const auto key = [&](const char* piece) { return vocabulary.key_of(tokenizer.find_piece(piece).value()); };
  EXPECT_EQ(key("Ġthe"), key("the"));
  EXPECT_EQ(key("Ġthe"), key("The"));
  EXPECT_NE(key("Ġthe"), key("Ġa"));
  EXPECT_EQ(key("<|endoftext|>"), 0);
  EXPECT_EQ(key("<|pad|>"), 1);
}

TEST(CompressedVocabularyTest, RefusesWhatIsNoMapAndIdsOutsideIt) {
  EXPECT_EQ(CompressedVocabulary(std::vector<int32_t>{}).num_keys(), 0);
  EXPECT_EQ(CompressedVocabulary({0, 1, 0, 2}).num_keys(), 3);
  const auto message = [](const std::vector<int32_t>& map) {
    return test::error_of([&] { CompressedVocabulary vocabulary(map); });
  };
  EXPECT_EQ(message({0, 2}).find("compressed vocabulary: token 1 has key 2, wanted 0 to 1"), 0u);
  EXPECT_EQ(message({0, -1}).find("compressed vocabulary: token 1 has key -1, wanted 0 to 1"), 0u);
  const CompressedVocabulary vocabulary({0, 1, 0});
  for (const int64_t token : {int64_t{-1}, int64_t{3}, int64_t{1} << 40}) {
    EXPECT_NE(test::error_of([&] { vocabulary.key_of(token); }).find("wanted 0 to 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace engram
