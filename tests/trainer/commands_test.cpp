#include "trainer/commands.h"

#include <gtest/gtest.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/data/temporary_directory.h"
#include "tests/testing.h"
#include "trainer/run_data.h"

namespace engram {
namespace {

const std::string kTokenizer = std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json";

// What a command prints.
std::string printed(const std::function<void()>& body) {
  ::testing::internal::CaptureStdout();
  body();
  return ::testing::internal::GetCapturedStdout();
}

class DataBuild : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string lines;
    for (int i = 0; i < 20; ++i) lines += R"({"body": "Document )" + std::to_string(i) + " of a few words.\"}\n";
    test::write_file(directory_ / "text.jsonl", lines);
    command_.inputs = {directory_ / "text.jsonl"};
    command_.tokenizer = kTokenizer;
    command_.output = directory_ / "store.h5";
    command_.text_field = "body";
  }
  test::TemporaryDirectory directory_;
  DataBuildCommand command_;
};

TEST_F(DataBuild, MakesAStoreThatItsTokenizerOpens) {
  const std::string text = printed([&] { run_data_build(command_); });
  EXPECT_NE(text.find("store.h5 (20 documents, "), std::string::npos) << text;
  const BpeTokenizer tokenizer = BpeTokenizer::load(kTokenizer);
  const TokenStore store = open_store(command_.output, tokenizer);
  EXPECT_EQ(store.num_documents(), 20);
  std::vector<int32_t> tokens(static_cast<size_t>(store.doc_offsets()[1]));
  std::vector<uint8_t> starts(tokens.size());
  store.read(0, tokens, starts);
  EXPECT_EQ(tokens.back(), tokenizer.end_of_text());
  std::string first;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) first += tokenizer.bytes(tokens[i]);
  EXPECT_TRUE(first.starts_with("Document ") && first.ends_with(" of a few words.")) << first;
}

TEST_F(DataBuild, HoldsDocumentsOut) {
  command_.holdout = 0.25;
  command_.holdout_output = directory_ / "held_out.h5";
  const std::string text = printed([&] { run_data_build(command_); });
  const int64_t num_held = TokenStore::open(command_.holdout_output).num_documents();
  EXPECT_GT(num_held, 0);
  EXPECT_EQ(TokenStore::open(command_.output).num_documents(), 20 - num_held);
  EXPECT_NE(text.find("held_out.h5 (" + std::to_string(num_held) + " documents, "), std::string::npos) << text;
}

TEST_F(DataBuild, AnyNumberOfThreadsGivesTheSameBytes) {
  std::string bytes;
  for (const int64_t threads : {1, 2, 8}) {
    command_.threads = threads;
    printed([&] { run_data_build(command_); });
    const std::string got = test::read_file(command_.output);
    EXPECT_TRUE(bytes.empty() || got == bytes) << threads;
    bytes = got;
  }
}

TEST_F(DataBuild, TellsWhatItLeftOut) {
  command_.skip_bad = true;
  test::write_file(directory_ / "bad.jsonl", "{\"body\": \"\"}\n{\"body\": 1}\n{\"body\": \"x\"}\n");
  command_.inputs.push_back(directory_ / "bad.jsonl");
  const std::string text = printed([&] { run_data_build(command_); });
  EXPECT_NE(text.find("read 21 documents, "), std::string::npos) << text;
  EXPECT_NE(text.find("1 empty documents and 1 bad records left out\nfirst bad record: "), std::string::npos) << text;
  EXPECT_NE(text.find("bad.jsonl:2: field \"body\" is a number"), std::string::npos) << text;
}

TEST_F(DataBuild, AnotherTokenizerIsRefused) {
  printed([&] { run_data_build(command_); });
  auto json = nlohmann::ordered_json::parse(test::read_file(kTokenizer));
  auto& merges = json["model"]["merges"];
  std::swap(merges[merges.size() - 1], merges[merges.size() - 2]);
  test::write_file(directory_ / "other.json", json.dump());
  const BpeTokenizer other = BpeTokenizer::load(directory_ / "other.json");
  const std::string message = test::error_of([&] { open_store(command_.output, other); });
  EXPECT_NE(message.find("store.h5: was built with the tokenizer of digest"), std::string::npos) << message;
  EXPECT_NE(message.find("got one of digest " + other.digest()), std::string::npos) << message;
}

TEST_F(DataBuild, InspectTellsCountsSourcesLengthsAndText) {
  test::write_file(directory_ / "one.txt", "A text of another file.");
  command_.inputs.push_back(directory_ / "one.txt");
  printed([&] { run_data_build(command_); });
  const TokenStore store = TokenStore::open(command_.output);
  const std::string text =
      printed([&] { run_data_inspect({.store = command_.output, .show = 21, .tokenizer = kTokenizer}); });
  const auto has = [&](const std::string& words) { EXPECT_NE(text.find(words), std::string::npos) << words << text; };
  has("digest     " + store.digest() + "\n");
  has("tokenizer  " + store.header().tokenizer_digest + ", 8192 ids");
  has("documents  21\n");
  has("tokens     " + std::to_string(store.num_tokens()) + "\n");
  has(directory_ / "text.jsonl\n");
  has(directory_ / "one.txt\n");
  has("A text of another file.");
  has("Document 7 of a few words.");
  EXPECT_NE(test::error_of([&] {
              run_data_inspect({.store = directory_ / "one.txt", .show = 0, .tokenizer = ""});
            }).find("is no engram token store"),
            std::string::npos);
}

TEST_F(DataBuild, VerifyNamesEveryDamagedStore) {
  printed([&] { run_data_build(command_); });
  const std::string good = command_.output, bytes = test::read_file(good);
  const std::string text = printed([&] { run_data_verify({.stores = {good}}); });
  EXPECT_NE(text.find("store.h5: every digest is right; " + TokenStore::open(good).digest()), std::string::npos)
      << text;
  std::string damaged = bytes;
  damaged[bytes.size() / 2] ^= 1;
  test::write_file(directory_ / "damaged.h5", damaged);
  test::write_file(directory_ / "cut.h5", bytes.substr(0, 700));
  std::string message;
  printed([&] {
    message = test::error_of([&] {
      run_data_verify({.stores = {directory_ / "damaged.h5", good, directory_ / "cut.h5"}});
    });
  });
  EXPECT_NE(message.find("damaged.h5: "), std::string::npos) << message;
  EXPECT_NE(message.find("cut.h5: "), std::string::npos) << message;
  EXPECT_EQ(message.find("store.h5: "), std::string::npos) << message;
}

TEST(DataTokenize, PrintsALineOfIdsPerDocument) {
  const test::TemporaryDirectory directory;
  test::write_file(directory / "text.txt", "One of<|endoftext|>\n<|endoftext|>\nanother\n");
  DataTokenizeCommand command{.inputs = {directory / "text.txt"}, .tokenizer = kTokenizer};
  const BpeTokenizer tokenizer = BpeTokenizer::load(kTokenizer);
  const auto ids_printed = [&] {
    std::vector<std::vector<int32_t>> documents;
    std::istringstream lines(printed([&] { run_data_tokenize(command); }));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream ids(line);
      documents.emplace_back(std::istream_iterator<int32_t>(ids), std::istream_iterator<int32_t>());
    }
    return documents;
  };
  std::vector<int32_t> as_text;
  BpeEncoder(tokenizer).encode("One of<|endoftext|>", as_text, AddedTokenPolicy::kText);
  EXPECT_EQ(ids_printed(), (std::vector{as_text, tokenizer.encode("another")}));
  command.added_tokens = true;
  command.threads = 3;
  EXPECT_EQ(ids_printed(), (std::vector{tokenizer.encode("One of<|endoftext|>"), tokenizer.encode("another")}));
}

TEST(RunData, AVocabularyThatDoesNotHoldEveryIdIsRefused) {
  RunConfig config;
  config.data.tokenizer = kTokenizer;
  config.model.vocab_size = 8000;
  const std::string message = test::error_of([&] { load_tokenizer(config); });
  EXPECT_NE(message.find("has 8192 ids, model.vocab_size is 8000"), std::string::npos) << message;
  config.model.vocab_size = 8192;
  EXPECT_EQ(load_tokenizer(config).map().compressed_ids.size(), 8192u);
}

}  // namespace
}  // namespace engram
