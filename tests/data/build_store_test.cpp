#include "data/build_store.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "data/atomic_file.h"
#include "data/file_lock.h"
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
                           [](std::span<const std::string> block) {
                             std::vector<std::vector<int32_t>> ids(block.size());
                             for (size_t i = 0; i < block.size(); ++i) {
                               for (const char byte : block[i]) ids[i].push_back(static_cast<uint8_t>(byte));
                             }
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
  std::set<std::string> names_in_directory() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
      names.insert(entry.path().filename());
    }
    return names;
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

TEST_F(BuildStoreTest, HoldoutDependsOnTheTextAlone) {
  const std::vector<std::string> all = [&] {
    build_token_store(options, encoder);
    return documents_of(options.output);
  }();
  options.holdout_output = directory / "held/out.h5";
  std::set<std::string> held_before;
  for (const auto& [fraction, least, most] : {std::tuple{0.0001, 1, 1}, {0.1, 3, 20}, {0.5, 30, 70}, {0.99, 90, 99}}) {
    options.holdout_fraction = fraction;
    const BuildSummary summary = build_token_store(options, encoder);
    const std::vector<std::string> train = documents_of(options.output), held = documents_of(options.holdout_output);
    EXPECT_GE(held.size(), static_cast<size_t>(least));
    EXPECT_LE(held.size(), static_cast<size_t>(most));
    EXPECT_EQ(summary.holdout.num_documents, std::ssize(held));
    EXPECT_NE(summary.holdout.digest, summary.train.digest);
    // Both stores keep the order of the whole.
    std::vector<std::string> want_train, want_held;
    const std::set<std::string> is_held(held.begin(), held.end());
    for (const std::string& text : all) (is_held.contains(text) ? want_held : want_train).push_back(text);
    EXPECT_EQ(train, want_train);
    EXPECT_EQ(held, want_held);
    EXPECT_TRUE(std::includes(is_held.begin(), is_held.end(), held_before.begin(), held_before.end()));
    held_before = is_held;
  }
}

TEST_F(BuildStoreTest, MoreTextAndAnotherSeedMoveNoDocumentOutOfTheHoldout) {
  options.holdout_fraction = 0.1;
  options.holdout_output = directory / "held.h5";
  build_token_store(options, encoder);
  const std::vector<std::string> held = documents_of(options.holdout_output);
  test::write_file(directory / "more.txt", texts[7] + "\n<|endoftext|>\nsomething new\n<|endoftext|>\n" + held[0]);
  options.inputs.push_back(directory / "more.txt");
  options.seed = 5;
  build_token_store(options, encoder);
  const std::vector<std::string> more = documents_of(options.holdout_output);
  for (const std::string& text : held) {
    EXPECT_EQ(std::count(more.begin(), more.end(), text), text == held[0] ? 2 : 1) << text;
  }
  for (const std::string& text : documents_of(options.output)) {
    EXPECT_EQ(std::count(held.begin(), held.end(), text), 0) << text;
  }
}

TEST_F(BuildStoreTest, SourcesAreCountedInBothStores) {
  test::write_file(directory / "more.txt", "a\n<|endoftext|>\nbc\n<|endoftext|>\n");
  test::write_file(directory / "none.txt", "");
  options.inputs = {directory / "more.txt", directory / "none.txt", directory / "in.jsonl"};
  options.holdout_fraction = 0.3;
  options.holdout_output = directory / "held.h5";
  build_token_store(options, encoder);
  const TokenStore train = TokenStore::open(options.output), held = TokenStore::open(options.holdout_output);
  ASSERT_EQ(train.header().sources.size(), 3u);
  ASSERT_EQ(held.header().sources.size(), 3u);
  const std::vector<std::pair<int64_t, int64_t>> all{
      {2, 3 + 2}, {0, 0}, {100, train.num_tokens() + held.num_tokens() - 5}};
  for (size_t i = 0; i < 3; ++i) {
    const StoreSource &a = train.header().sources[i], &b = held.header().sources[i];
    EXPECT_EQ(a.path, options.inputs[i]);
    EXPECT_EQ(a.digest, digest_of_file(options.inputs[i]));
    EXPECT_EQ(b.digest, a.digest);
    EXPECT_EQ(a.num_documents + b.num_documents, all[i].first);
    EXPECT_EQ(a.num_tokens + b.num_tokens, all[i].second);
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
  EXPECT_EQ(names_in_directory(), (std::set<std::string>{"bad.jsonl", "in.jsonl", "train.h5"}));
  encoder.vocab_size = 50;  // letters are outside
  encoder.eos_id = 0;
  options.inputs.pop_back();
  EXPECT_NE(error_of([&] { build_token_store(options, encoder); }).find("is outside the vocabulary of 50"),
            std::string::npos);
  EXPECT_EQ(test::read_file(options.output), before);
  options.inputs = {directory / "in.jsonl"};
  encoder.vocab_size = 257;
  encoder.eos_id = kEos;
  build_token_store(options, encoder);
  EXPECT_EQ(names_in_directory(), (std::set<std::string>{"bad.jsonl", "in.jsonl", "train.h5"}));
}

TEST_F(BuildStoreTest, OverwritesNothingButStores) {
  const std::string train = options.output, text = options.inputs[0], before = test::read_file(text);
  const auto message = [&] { return error_of([&] { build_token_store(options, encoder); }); };
  options.output = text;
  EXPECT_EQ(message().find(text + ": is there and no token store, and would be overwritten"), 0u);
  options.output = train, options.holdout_fraction = 0.1, options.holdout_output = text;
  EXPECT_EQ(message().find(text + ": is there and no token store, and would be overwritten"), 0u);
  EXPECT_EQ(test::read_file(text), before);
  options.output = directory.path();
  EXPECT_NE(message().find(": is there and no file"), std::string::npos);
  options.output = train, options.holdout_output = directory / "held.h5";
  EXPECT_EQ(message(), "");
}

TEST_F(BuildStoreTest, ProgressRisesAndMayStop) {
  options.block_bytes = 1000;
  std::vector<int64_t> documents, bytes;
  options.progress = [&](int64_t num_documents, int64_t num_bytes) {
    documents.push_back(num_documents);
    bytes.push_back(num_bytes);
  };
  const BuildSummary summary = build_token_store(options, encoder);
  EXPECT_GT(documents.size(), 4u);
  EXPECT_TRUE(std::is_sorted(documents.begin(), documents.end()));
  EXPECT_EQ(documents.back(), 100);
  EXPECT_EQ(bytes.back(), summary.text.num_bytes);
  options.progress = [](int64_t, int64_t) { throw Error("stopped by the user"); };
  std::filesystem::remove(options.output);
  EXPECT_EQ(error_of([&] { build_token_store(options, encoder); }), "stopped by the user");
  EXPECT_FALSE(std::filesystem::exists(options.output));
}

TEST_F(BuildStoreTest, TextThatCannotBeEncodedIsNamed) {
  const auto encode = encoder.encode;
  encoder.encode = [&](std::span<const std::string> block) {
    for (const std::string& text : block) ENGRAM_CHECK(text != texts[41], "too hard");
    return encode(block);
  };
  const std::string error = error_of([&] { build_token_store(options, encoder); });
  EXPECT_EQ(error.find(directory / "in.jsonl:42: too hard"), 0u) << error;
}

// A build in a process of its own that is killed, as by kill -9, where `step` calls `die`.
struct KilledBuildTest : BuildStoreTest {
  std::string undisturbed;
  int64_t num_encoded = 0;

  void SetUp() override {
    BuildStoreTest::SetUp();
    options.holdout_fraction = 0.2;
    options.holdout_output = directory / "held.h5";
    build_token_store(options, encoder);
    undisturbed = both_stores();
    options.block_bytes = 1000;
    encoder.encode = [this, encode = encoder.encode](std::span<const std::string> block) {
      num_encoded += std::ssize(block);
      return encode(block);
    };
  }
  std::string both_stores() { return test::read_file(options.output) + test::read_file(options.holdout_output); }
  void remove_stores() {
    std::filesystem::remove(options.output);
    std::filesystem::remove(options.holdout_output);
  }
  void killed(const BuildOptions& its_options, const StoreEncoder& its_encoder) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      build_token_store(its_options, its_encoder);
      std::_Exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }
  // Ends in the stores of an undisturbed build and nothing else; `num_kept` documents are not encoded again.
  void expect_to_go_on(int64_t num_kept) {
    num_encoded = 0;
    const BuildSummary summary = build_token_store(options, encoder);
    EXPECT_EQ(summary.num_kept, num_kept);
    EXPECT_EQ(num_encoded, 100 - num_kept);
    EXPECT_EQ(both_stores(), undisturbed);
    EXPECT_EQ(names_in_directory(), (std::set<std::string>{"held.h5", "in.jsonl", "train.h5"}));
  }
};

TEST_F(KilledBuildTest, GoesOnFromAnyBlock) {
  std::vector<int64_t> ends{0};  // documents encoded before each block
  BuildOptions watched = options;
  watched.progress = [&](int64_t num_documents, int64_t) { ends.push_back(num_documents); };
  build_token_store(watched, encoder);
  ASSERT_GT(ends.size(), 5u);
  for (size_t block = 0; block + 1 < ends.size(); ++block) {
    remove_stores();
    StoreEncoder dying = encoder;
    dying.encode = [&, num_blocks = size_t{0}](std::span<const std::string> texts_of_block) mutable {
      if (num_blocks++ == block) ::raise(SIGKILL);
      return encoder.encode(texts_of_block);
    };
    killed(options, dying);
    EXPECT_FALSE(std::filesystem::exists(options.output));
    expect_to_go_on(ends[block]);
  }
}

TEST_F(KilledBuildTest, GoesOnBehindTheLastBlock) {
  BuildOptions dying = options;
  dying.progress = [](int64_t num_documents, int64_t) {
    if (num_documents == 100) ::raise(SIGKILL);
  };
  killed(dying, encoder);
  test::write_file(options.output + ".tmp.123", "left by a process that was killed while it wrote the store");
  expect_to_go_on(100);
}

TEST_F(KilledBuildTest, DamagedAndForeignBlocksAreEncodedAgain) {
  const auto change_and_expect = [&](const std::function<void(const std::string& block)>& change, int64_t num_kept) {
    BuildOptions dying = options;
    dying.progress = [](int64_t num_documents, int64_t) {
      if (num_documents == 100) ::raise(SIGKILL);
    };
    killed(dying, encoder);
    change(options.output + ".build/0");
    expect_to_go_on(num_kept);
  };
  int64_t num_first = 0;  // documents of the first block
  BuildOptions watched = options;
  watched.progress = [&](int64_t num_documents, int64_t) { num_first = num_first == 0 ? num_documents : num_first; };
  build_token_store(watched, encoder);

  change_and_expect([](const std::string&) {}, 100);
  change_and_expect([](const std::string& block) { std::filesystem::remove(block); }, 100 - num_first);
  change_and_expect(
      [](const std::string& block) {
        std::filesystem::copy_file(block.substr(0, block.size() - 1) + "1", block,
                                   std::filesystem::copy_options::overwrite_existing);
      },
      100 - num_first);
  for (const size_t at : {size_t{3}, size_t{40}, size_t{70}, size_t{300}}) {
    change_and_expect(
        [&](const std::string& block) {
          std::string bytes = test::read_file(block);
          bytes[at] = static_cast<char>(bytes[at] ^ 4);
          test::write_file(block, bytes);
        },
        100 - num_first);
    change_and_expect([&](const std::string& block) { std::filesystem::resize_file(block, at); }, 100 - num_first);
  }
  encoder.tokenizer_digest = "others";  // their blocks are of no use
  build_token_store(options, encoder);
  undisturbed = both_stores();
  encoder.tokenizer_digest = "bytes";
  BuildOptions dying = options;
  dying.progress = [](int64_t, int64_t) { ::raise(SIGKILL); };
  killed(dying, encoder);
  encoder.tokenizer_digest = "others";
  expect_to_go_on(0);
}

TEST_F(KilledBuildTest, OneProcessBuildsAStore) {
  std::filesystem::create_directory(options.output + ".build");
  const FileLock other(options.output + ".build/lock", /*wait=*/false);
  const std::string error = error_of([&] { build_token_store(options, encoder); });
  EXPECT_NE(error.find("train.h5.build: another process builds"), std::string::npos) << error;
  EXPECT_EQ(both_stores(), undisturbed);
}

TEST_F(KilledBuildTest, AFullDiskLeavesTheOldStores) {
  for (const rlim_t most : {rlim_t{100}, rlim_t{1500}, rlim_t{4000}, rlim_t{12000}}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit fails instead
      const rlimit limit{most, most};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const std::string error = error_of([&] { build_token_store(options, encoder); });
      std::_Exit(error.find("File too large") == std::string::npos);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << most;
    EXPECT_EQ(both_stores(), undisturbed);
  }
  const int64_t num_kept = build_token_store(options, encoder).num_kept;
  EXPECT_GT(num_kept, 0);
  EXPECT_EQ(both_stores(), undisturbed);
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
