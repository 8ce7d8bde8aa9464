#include "data/build_store.h"

#include <algorithm>
#include <set>

#include "data/token_store.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

struct BuildStoreTest : ::testing::Test {
  static constexpr int64_t kEos = 256;
  test::TemporaryDirectory directory;
  BuildOptions options;
  StoreEncoder encoder{.encode =
                           [](std::string_view text) {
                             std::vector<int32_t> ids;
                             for (const char byte : text) ids.push_back(static_cast<uint8_t>(byte));
                             return ids;
                           },
                       .tokenizer_digest = "bytes",
                       .vocab_size = 257,
                       .eos_id = kEos};
  std::vector<std::string> texts;

  void SetUp() override {
    std::string lines;
    for (int i = 0; i < 100; ++i) {
      texts.push_back("document " + std::to_string(i) + std::string(static_cast<size_t>(i), '.'));
      lines += "{\"text\": \"" + texts.back() + "\"}\n";
    }
    test::write_file(directory / "in.jsonl", lines);
    options.inputs = {directory / "in.jsonl"};
    options.output = directory / "train.h5";
  }
  static std::vector<std::string> documents_of(const std::string& path) {
    const TokenStore store = TokenStore::open(path);
    std::vector<int32_t> tokens(static_cast<size_t>(store.num_tokens()));
    std::vector<uint8_t> starts(tokens.size());
    store.read(0, tokens, starts);
    std::vector<std::string> documents;
    for (size_t i = 0; i + 1 < store.doc_offsets().size(); ++i) {
      const size_t first = store.doc_offsets()[i], last = store.doc_offsets()[i + 1] - 1;
      EXPECT_EQ(tokens[last], kEos);
      documents.emplace_back(tokens.begin() + static_cast<std::ptrdiff_t>(first),
                             tokens.begin() + static_cast<std::ptrdiff_t>(last));
    }
    return documents;
  }
};

TEST_F(BuildStoreTest, EveryDocumentOnceInShuffledOrder) {
  const BuildSummary summary = build_token_store(options, encoder);
  std::vector<std::string> got = documents_of(options.output);
  EXPECT_NE(got, texts);
  std::sort(got.begin(), got.end());
  std::sort(texts.begin(), texts.end());
  EXPECT_EQ(got, texts);

  const TokenStore store = TokenStore::open(options.output);
  EXPECT_EQ(summary.text.num_documents, 100);
  EXPECT_EQ(summary.train.path, options.output);
  EXPECT_EQ(summary.train.digest, store.digest());
  EXPECT_EQ(summary.train.num_documents, 100);
  EXPECT_EQ(summary.train.num_tokens, summary.text.num_bytes + 100);
  EXPECT_EQ(summary.train.num_tokens, store.num_tokens());
  EXPECT_EQ(summary.holdout.path, "");
  store.check_tokenizer("bytes", 257);
}

TEST_F(BuildStoreTest, HoldoutTakesItsShareOfDocuments) {
  const std::vector<std::string> all = [&] {
    build_token_store(options, encoder);
    return documents_of(options.output);
  }();
  options.holdout_output = directory / "held/out.h5";
  for (const auto& [fraction, num_held] : std::vector<std::pair<double, size_t>>{{0.1, 10}, {0.001, 1}, {0.99, 99}}) {
    options.holdout_fraction = fraction;
    const BuildSummary summary = build_token_store(options, encoder);
    std::vector<std::string> got = documents_of(options.output);
    const std::vector<std::string> held = documents_of(options.holdout_output);
    EXPECT_EQ(held.size(), num_held);
    EXPECT_EQ(summary.holdout.num_documents, static_cast<int64_t>(num_held));
    EXPECT_NE(summary.holdout.digest, summary.train.digest);
    got.insert(got.end(), held.begin(), held.end());
    EXPECT_EQ(got, all);
  }
}

TEST_F(BuildStoreTest, SameInputsGiveTheSameBytes) {
  build_token_store(options, encoder);
  const std::string first = test::read_file(options.output);
  build_token_store(options, encoder);
  EXPECT_EQ(test::read_file(options.output), first);
  options.seed = 1;
  build_token_store(options, encoder);
  EXPECT_NE(test::read_file(options.output), first);
}

TEST_F(BuildStoreTest, FailureLeavesTheOldStoreAndNothingElse) {
  build_token_store(options, encoder);
  const std::string before = test::read_file(options.output);
  test::write_file(directory / "bad.jsonl", "{\"text\": \"x\"}\nnonsense\n");
  options.inputs.push_back(directory / "bad.jsonl");
  EXPECT_NE(error_of([&] { build_token_store(options, encoder); }).find("bad.jsonl:2: is no JSON"), std::string::npos);
  encoder.vocab_size = 50;  // letters are outside
  encoder.eos_id = 0;
  options.inputs.pop_back();
  EXPECT_NE(error_of([&] { build_token_store(options, encoder); }).find("is outside the vocabulary of 50"),
            std::string::npos);
  EXPECT_EQ(test::read_file(options.output), before);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"bad.jsonl", "in.jsonl", "train.h5"}));
}

TEST_F(BuildStoreTest, ProgressRisesAndMayStop) {
  std::vector<int64_t> seen;
  options.progress = [&](int64_t num_documents, int64_t) { seen.push_back(num_documents); };
  build_token_store(options, encoder);
  EXPECT_EQ(seen, (std::vector<int64_t>{64}));
  options.progress = [](int64_t, int64_t) { throw Error("stopped by the user"); };
  std::filesystem::remove(options.output);
  EXPECT_EQ(error_of([&] { build_token_store(options, encoder); }), "stopped by the user");
  EXPECT_FALSE(std::filesystem::exists(options.output));
}

TEST_F(BuildStoreTest, RefusesOptionsThatDoNotFit) {
  const auto expect_error = [&](const std::function<void(BuildOptions&)>& change, const std::string& words) {
    BuildOptions changed = options;
    change(changed);
    const std::string error = error_of([&] { build_token_store(changed, encoder); });
    EXPECT_NE(error.find(words), std::string::npos) << error;
  };
  test::write_file(directory / "one.txt", "only one");
  test::write_file(directory / "none.txt", "\n");
  expect_error([](BuildOptions& o) { o.output = ""; }, "no output file");
  expect_error([](BuildOptions& o) { o.holdout_fraction = 1; }, "holdout fraction 1;");
  expect_error([](BuildOptions& o) { o.holdout_fraction = 0.1; }, "wanted both or neither");
  expect_error([](BuildOptions& o) { o.holdout_output = "x"; }, "wanted both or neither");
  expect_error([](BuildOptions& o) { o.holdout_fraction = 0.1, o.holdout_output = o.output; }, "named for both stores");
  expect_error([&](BuildOptions& o) { o.inputs = {directory / "none.txt"}; },
               "1 files hold no document (1 empty, 0 bad)");
  expect_error(
      [&](BuildOptions& o) {
        o.inputs = {directory / "one.txt"};
        o.holdout_fraction = 0.5, o.holdout_output = directory / "held.h5";
      },
      "holding out 1 of 1 documents leaves none");
}

}  // namespace
}  // namespace engram
