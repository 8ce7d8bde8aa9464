#include "data/token_store.h"

#include <xxhash.h>

#include <algorithm>

#include "data/atomic_file.h"
#include "data/hdf5_file.h"
#include "data/sealed_file.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

struct TokenStoreTest : ::testing::Test {
  test::TemporaryDirectory directory;
  const std::string path = directory / "store.h5";

  static TokenStoreHeader header_of(int64_t vocab_size, int64_t num_tokens, int64_t num_documents) {
    return {.tokenizer_digest = "0123456789abcdef",
            .vocab_size = vocab_size,
            .eos_id = 0,
            .num_tokens = num_tokens,
            .num_documents = num_documents};
  }
  // Documents of 1, 2, 3, ... tokens, all different where the vocabulary allows it; the last takes what is left.
  static std::vector<std::vector<int32_t>> make_documents(int64_t vocab_size, int64_t num_tokens) {
    std::vector<std::vector<int32_t>> documents;
    for (int64_t token = 0; token < num_tokens;) {
      documents.emplace_back();
      const auto length = std::min<int64_t>(static_cast<int64_t>(documents.size()), num_tokens - token);
      for (int64_t i = 0; i < length; ++i) {
        documents.back().push_back(static_cast<int32_t>((vocab_size - 1 - token++ % vocab_size)));
      }
    }
    return documents;
  }
  std::string write(const std::vector<std::vector<int32_t>>& documents, int64_t vocab_size) {
    int64_t num_tokens = 0;
    for (const auto& document : documents) num_tokens += static_cast<int64_t>(document.size());
    TokenStoreWriter writer(path, header_of(vocab_size, num_tokens, static_cast<int64_t>(documents.size())));
    for (const auto& document : documents) writer.append(document);
    return writer.finish();
  }
  // A well-formed file in which `change` altered the parts before they were written.
  struct Parts {
    std::vector<uint16_t> tokens{5, 0, 6, 0};
    std::vector<uint64_t> doc_offsets{0, 2, 4}, block_digests;
    std::string format = "engram token store";
    int64_t format_version = 2, vocab_size = 10;
    std::string digest, sources = "[]";
  };
  void write_parts(const std::function<void(Parts&)>& change) {
    write({{5, 0}, {6, 0}}, 10);
    Parts parts;
    {
      const Hdf5Reader reader(path);
      parts.block_digests.resize(1);
      reader.read_dataset("block_digests", std::span(parts.block_digests));
      parts.digest = reader.string_attribute("", "digest");
    }
    std::filesystem::remove(path);
    change(parts);
    Hdf5Writer writer(path, kSealBytes);
    writer.write_dataset("tokens", std::span<const uint16_t>(parts.tokens));
    writer.write_dataset("doc_offsets", std::span<const uint64_t>(parts.doc_offsets));
    writer.write_dataset("block_digests", std::span<const uint64_t>(parts.block_digests));
    writer.set_attribute("", "format", parts.format);
    writer.set_attribute("", "format_version", parts.format_version);
    writer.set_attribute("", "tokenizer_digest", std::string("0123456789abcdef"));
    writer.set_attribute("", "vocab_size", parts.vocab_size);
    writer.set_attribute("", "eos_id", int64_t{0});
    writer.set_attribute("", "num_tokens", int64_t{4});
    writer.set_attribute("", "num_documents", int64_t{2});
    writer.set_attribute("", "sources", parts.sources);
    writer.set_attribute("", "digest", parts.digest);
    writer.close();
    seal_file(path, "engram token store");
  }
  std::string error_on_opening() {
    return error_of([&] { TokenStore::open(path); });
  }
  void expect_refused(const std::function<void(Parts&)>& change, const std::string& words) {
    std::filesystem::remove(path);
    write_parts(change);
    const std::string error = error_on_opening();
    EXPECT_NE(error.find(path), std::string::npos) << error;
    EXPECT_NE(error.find(words), std::string::npos) << error;
  }
};

TEST_F(TokenStoreTest, DocumentsComeBackInBothWidths) {
  for (const int64_t vocab_size : {1, 65536, 65537, 200000}) {
    for (const int64_t num_tokens : {0, 1, 1000, (1 << 19) - 1, 1 << 19, (1 << 20) + 77}) {
      const auto documents = make_documents(vocab_size, num_tokens);
      const std::string digest = write(documents, vocab_size);
      const TokenStore store = TokenStore::open(path);
      EXPECT_EQ(store.digest(), digest);
      EXPECT_EQ(store.num_tokens(), num_tokens);
      EXPECT_EQ(store.num_documents(), static_cast<int64_t>(documents.size()));
      EXPECT_EQ(Hdf5Reader(path).dataset_info("tokens").type,
                vocab_size <= 65536 ? FileType::kUInt16 : FileType::kUInt32);
      std::vector<int32_t> tokens(static_cast<size_t>(num_tokens)), want;
      std::vector<uint8_t> starts(tokens.size()), want_starts;
      for (const auto& document : documents) {
        want_starts.push_back(1);
        want_starts.resize(want_starts.size() + document.size() - 1);
        want.insert(want.end(), document.begin(), document.end());
      }
      store.read(0, tokens, starts);
      EXPECT_EQ(tokens, want);
      EXPECT_EQ(starts, want_starts);
    }
  }
}

TEST_F(TokenStoreTest, SlicesEqualTheWhole) {
  write(make_documents(50, 300), 50);
  const TokenStore store = TokenStore::open(path);
  std::vector<int32_t> all(300);
  std::vector<uint8_t> all_starts(300);
  store.read(0, all, all_starts);
  for (const auto& [first, count] :
       std::vector<std::pair<int64_t, size_t>>{{0, 0}, {1, 7}, {299, 1}, {300, 0}, {37, 200}}) {
    std::vector<int32_t> tokens(count, -9);
    std::vector<uint8_t> starts(count, 9);
    store.read(first, tokens, starts);
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), all.begin() + first));
    EXPECT_TRUE(std::equal(starts.begin(), starts.end(), all_starts.begin() + first));
  }
  std::vector<int32_t> tokens(2);
  std::vector<uint8_t> starts(2);
  EXPECT_NE(error_of([&] { store.read(299, tokens, starts); }).find("tokens 299 to 301"), std::string::npos);
  EXPECT_NE(error_of([&] { store.read(-1, tokens, starts); }).find("tokens -1 to 1"), std::string::npos);
}

TEST_F(TokenStoreTest, DigestCoversEveryPart) {
  const std::string base = write({{1, 2, 0}, {3, 0}}, 10);
  EXPECT_EQ(base, write({{1, 2, 0}, {3, 0}}, 10));
  EXPECT_NE(base, write({{1, 2, 0}, {4, 0}}, 10));
  EXPECT_NE(base, write({{1, 2}, {0, 3, 0}}, 10));
  EXPECT_NE(base, write({{1, 2, 0}, {3, 0}}, 11));
}

TEST_F(TokenStoreTest, UnfinishedStoreIsNotThere) {
  {
    TokenStoreWriter writer(path, header_of(10, 3, 1));
    writer.append(std::vector<int32_t>{1, 2});
    EXPECT_NE(error_of([&] { writer.finish(); }).find("got 2 tokens in 1 documents, wanted 3 in 1"), std::string::npos);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST_F(TokenStoreTest, WriterRefusesIdsOutsideTheVocabulary) {
  for (const int32_t id : {10, -1}) {
    TokenStoreWriter writer(path, header_of(10, 4, 2));
    writer.append(std::vector<int32_t>{1, 2});
    EXPECT_NE(error_of([&] {
                writer.append(std::vector<int32_t>{3, id});
              }).find("document 1, token 1: id " + std::to_string(id) + " is outside the vocabulary of 10"),
              std::string::npos);
  }
}

TEST_F(TokenStoreTest, RefusesWhatDoesNotFit) {
  expect_refused([](Parts& parts) { parts.digest[0] ^= 1; }, "have digest");
  expect_refused([](Parts& parts) { parts.doc_offsets[1] = 3; }, "have digest");
  expect_refused([](Parts& parts) { parts.block_digests[0] ^= 1; }, "have digest");
  expect_refused([](Parts& parts) { parts.vocab_size = 11; }, "have digest");
  expect_refused([](Parts& parts) { parts.tokens[2] = 7; }, "tokens: block 0 (from token 0) has digest");
  expect_refused([](Parts& parts) { parts.tokens.pop_back(); }, "tokens: shape [3], wanted [4]");
  expect_refused([](Parts& parts) { parts.doc_offsets.push_back(4); }, "doc_offsets: shape [4], wanted [3]");
  expect_refused([](Parts& parts) { parts.format = "other"; }, "is no token store");
  expect_refused([](Parts& parts) { parts.format_version = 1; }, "format version 1, wanted 2");
  expect_refused([](Parts& parts) { parts.sources = "[1]"; }, "attribute sources: ");
  expect_refused([](Parts& parts) { parts.sources = "["; }, "attribute sources: ");
  expect_refused([](Parts& parts) { parts.vocab_size = 0; }, "vocabulary of 0 ids");
  write_parts([](Parts&) {});
  EXPECT_EQ(error_on_opening(), "");
}

// A store whose digests are right, made by a program that did not look at its ids.
TEST_F(TokenStoreTest, RefusesIdsOutsideTheVocabulary) {
  expect_refused(
      [](Parts& parts) {
        parts.tokens[2] = 10;
        parts.block_digests[0] = XXH3_64bits(parts.tokens.data(), 2 * parts.tokens.size());
        std::ostringstream text;
        text << "engram token store 1\n0123456789abcdef\n10\n0\n4\n2\n"
             << digest_of(std::as_bytes(std::span(parts.doc_offsets)))
             << digest_of(std::as_bytes(std::span(parts.block_digests)));
        parts.digest = digest_of(std::as_bytes(std::span(text.view())));
      },
      "tokens: position 2 holds id 10, outside the vocabulary of 10");
}

TEST_F(TokenStoreTest, RefusesAnotherTokenizer) {
  write({{1, 0}}, 10);
  const TokenStore store = TokenStore::open(path);
  store.check_tokenizer("0123456789abcdef", 10);
  const std::string error = error_of([&] { store.check_tokenizer("fedc", 10); });
  EXPECT_NE(error.find("tokenizer of digest 0123456789abcdef, got one of digest fedc"), std::string::npos) << error;
  EXPECT_NE(
      error_of([&] { store.check_tokenizer("0123456789abcdef", 12); }).find("vocabulary of 10 ids, got one of 12"),
      std::string::npos);
}

TEST_F(TokenStoreTest, SourcesComeBackAndAreNoPartOfTheDigest) {
  const std::string digest = write({{1, 2, 0}, {3, 0}}, 10);
  EXPECT_TRUE(TokenStore::open(path).header().sources.empty());
  TokenStoreHeader header = header_of(10, 5, 2);
  header.sources = {{.path = "a \"b\".txt", .digest = "d1", .num_documents = 0, .num_tokens = 0},
                    {.path = "c\xc3\xa9", .digest = "d2", .num_documents = 2, .num_tokens = 5}};
  {
    TokenStoreWriter writer(path, header);
    writer.append(std::vector<int32_t>{1, 2, 0});
    writer.append(std::vector<int32_t>{3, 0});
    EXPECT_EQ(writer.finish(), digest);
  }
  const std::vector<StoreSource> got = TokenStore::open(path).header().sources;
  ASSERT_EQ(got.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(got[i].path, header.sources[i].path);
    EXPECT_EQ(got[i].digest, header.sources[i].digest);
    EXPECT_EQ(got[i].num_documents, header.sources[i].num_documents);
    EXPECT_EQ(got[i].num_tokens, header.sources[i].num_tokens);
  }
  header.sources[0].num_tokens = 1;
  EXPECT_NE(
      error_of([&] { TokenStoreWriter(path, header); }).find("sources hold 2 documents of 6 tokens, wanted 2 of 5"),
      std::string::npos);
}

}  // namespace
}  // namespace engram
