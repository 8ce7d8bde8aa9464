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
  // Of the tokens in the file.
  ByteRange place_of_tokens() const {
    const DatasetInfo info = Hdf5Reader(path, "tokens").dataset_info("tokens");
    if (info.offset < 0) return {};
    return {info.offset, info.offset + info.shape[0] * size_of(info.type)};
  }
  // A well-formed file in which `change` altered the parts before they were written.
  struct Parts {
    bool is_older = false;  // tokens in chunks, under the seal
    std::vector<uint16_t> tokens{5, 0, 6, 0};
    std::vector<uint64_t> doc_offsets{0, 2, 4}, block_digests;
    std::string format = "engram token store";
    int64_t format_version = 3, vocab_size = 10;
    int64_t gap_begin = 0, gap_end = 0;  // moves what the seal leaves out
    std::string digest, sources = "[]";
  };
  void write_parts(const std::function<void(Parts&)>& change) {
    write({{5, 0}, {6, 0}}, 10);
    Parts parts;
    {
      const Hdf5Reader reader(path, "tokens");
      parts.block_digests.resize(1);
      reader.read_dataset("block_digests", std::span(parts.block_digests));
      parts.digest = reader.string_attribute("", "digest");
    }
    std::filesystem::remove(path);
    change(parts);
    Hdf5Writer writer(path, kSealBytes);
    const std::vector<int64_t> shape{std::ssize(parts.tokens)};
    writer.create_dataset("tokens", FileType::kUInt16, shape, parts.is_older ? 1 << 20 : kInOnePiece);
    writer.write_rows("tokens", 0, std::span<const uint16_t>(parts.tokens));
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
    const ByteRange tokens = place_of_tokens();
    seal_file(path, "engram token store", {tokens.begin + parts.gap_begin, tokens.end + parts.gap_end});
  }
  std::string error_on_opening() {
    return error_of([&] { TokenStore::open(path); });
  }
  // In both forms.
  void expect_refused(const std::function<void(Parts&)>& change, const std::string& words) {
    for (const bool is_older : {false, true}) {
      std::filesystem::remove(path);
      write_parts([&](Parts& parts) {
        parts.is_older = is_older;
        parts.format_version = is_older ? 2 : 3;
        change(parts);
      });
      const std::string error = error_on_opening();
      EXPECT_NE(error.find(path), std::string::npos) << error;
      EXPECT_NE(error.find(words), std::string::npos) << error << is_older;
    }
  }
  // Writes bytes into the store as it lies there.
  void overwrite(int64_t at, std::string_view bytes) const {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(at).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.flush().good());
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
      EXPECT_EQ(Hdf5Reader(path, "tokens").dataset_info("tokens").type,
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
  expect_refused([](Parts& parts) { parts.format_version = 1; }, "format version 1, wanted 2 to 3");
  expect_refused([](Parts& parts) { parts.format_version = 4; }, "format version 4, wanted 2 to 3");
  expect_refused([](Parts& parts) { parts.sources = "[1]"; }, "attribute sources: ");
  expect_refused([](Parts& parts) { parts.sources = "["; }, "attribute sources: ");
  for (const std::string count : {"-1", "9223372036854775807"}) {  // which others make up for, or 64 bits do
    const std::string other = count == "-1" ? "\"num_documents\": 3, \"num_tokens\": 5}"
                                            : "\"num_documents\": " + count + ", \"num_tokens\": " + count + "}";
    std::string sources = "[{\"path\": \"a\", \"digest\": \"\", \"num_documents\": " + count +
                          ", \"num_tokens\": " + count + "}, {\"path\": \"b\", \"digest\": \"\", " + other;
    if (count != "-1") sources += R"(, {"path": "c", "digest": "", "num_documents": 4, "num_tokens": 6})";
    expect_refused([&](Parts& parts) { parts.sources = sources + "]"; }, "sources hold");
  }
  expect_refused([](Parts& parts) { parts.vocab_size = 0; }, "vocabulary of 0 ids");
  write_parts([](Parts&) {});
  EXPECT_EQ(error_on_opening(), "");
}

TEST_F(TokenStoreTest, TheSealLeavesOutTheTokensAlone) {
  write_parts([](Parts&) {});
  const ByteRange tokens = place_of_tokens();
  EXPECT_EQ(check_seal(path, "engram token store"), tokens);
  EXPECT_EQ(tokens.end - tokens.begin, 8);
  overwrite(tokens.begin, "\1");
  EXPECT_EQ(error_of([&] { TokenStore::open_unchecked(path); }), "");
  EXPECT_NE(error_on_opening().find("tokens: block 0 (from token 0) has digest"), std::string::npos);
  for (const int64_t outside : {tokens.begin - 1, tokens.end}) {
    write_parts([](Parts&) {});
    overwrite(outside, "\7");
    EXPECT_NE(error_of([&] { TokenStore::open_unchecked(path); }).find("do not have the digest"), std::string::npos);
  }
  const auto error_of_gap = [&](bool is_older, int64_t begin, int64_t end) {
    std::filesystem::remove(path);
    write_parts([&](Parts& parts) { parts.is_older = is_older, parts.gap_begin = begin, parts.gap_end = end; });
    return error_on_opening();
  };
  EXPECT_NE(error_of_gap(false, -2, 0).find("the seal leaves out bytes"), std::string::npos);
  EXPECT_NE(error_of_gap(false, 0, 8).find("the seal leaves out bytes"), std::string::npos);
  EXPECT_NE(error_of_gap(true, 600, 610).find("the tokens are bytes 0 to 0"), std::string::npos);
  for (const auto& [begin, end] : {std::pair(0, 1 << 30), std::pair(-100000, 0), std::pair(0, -8), std::pair(8, 0)}) {
    EXPECT_NE(error_of_gap(false, begin, end), "") << begin << ' ' << end;
  }
}

// What builds before format version 3 wrote: the same digest, the same tokens.
TEST_F(TokenStoreTest, StoresOfOlderBuildsAreRead) {
  const auto read_all = [&] {
    const TokenStore store = TokenStore::open(path);
    std::vector<int32_t> tokens(4);
    std::vector<uint8_t> starts(4);
    store.read(0, tokens, starts);
    store.read(1, std::span(tokens).first(2), std::span(starts).first(2));
    return std::tuple(store.digest(), tokens, starts);
  };
  write_parts([](Parts&) {});
  const auto wanted = read_all();
  EXPECT_EQ(std::get<1>(wanted), (std::vector<int32_t>{0, 6, 6, 0}));
  std::filesystem::remove(path);
  write_parts([](Parts& parts) { parts.is_older = true, parts.format_version = 2; });
  EXPECT_TRUE(place_of_tokens().empty());
  EXPECT_EQ(read_all(), wanted);
}

TEST_F(TokenStoreTest, ReadersShareTheBlocks) {
  constexpr int64_t kBlock = 1 << 19, kNumBlocks = 5;
  write(make_documents(50, kBlock * (kNumBlocks - 1) + 7), 50);
  const int64_t first = place_of_tokens().begin;
  for (int64_t damaged = 0; damaged < kNumBlocks; ++damaged) {
    overwrite(first + 2 * kBlock * damaged + 2, "\62");  // 50, where less was
    const TokenStore store = TokenStore::open_unchecked(path);
    for (const int64_t num_readers : {1, 2, 3, 8}) {
      for (int64_t reader = 0; reader < num_readers; ++reader) {
        const std::string error = error_of([&] { store.check_blocks({.first = reader, .every = num_readers}); });
        const std::string words = "block " + std::to_string(damaged) + " (from token";
        EXPECT_EQ(error.find(words) != std::string::npos, damaged % num_readers == reader) << error;
      }
    }
    write(make_documents(50, kBlock * (kNumBlocks - 1) + 7), 50);
  }
}

// The file is not mapped: what happens to it under a run gives an error, and no signal.
TEST_F(TokenStoreTest, AFileThatChangesAfterItWasOpenedIsTold) {
  write({{5, 4, 3, 2, 1, 0}, {6, 0}}, 10);
  const TokenStore store = TokenStore::open(path);
  const ByteRange place = place_of_tokens();
  std::vector<int32_t> tokens(4);
  std::vector<uint8_t> starts(4);
  overwrite(place.begin + 2 * 3, "\12");
  EXPECT_NE(error_of([&] { store.read(2, tokens, starts); }).find("tokens: position 3 holds id 10"), std::string::npos);
  store.read(4, tokens, starts);
  std::filesystem::resize_file(path, static_cast<uintmax_t>(place.begin) + 9);
  try {
    store.read(2, tokens, starts);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const IoError& error) {
    const std::string words = path + ": reading bytes " + std::to_string(place.begin + 9) + " to " +
                              std::to_string(place.begin + 12) + " failed: the file ends";
    EXPECT_EQ(std::string(error.what()).find(words), 0u) << error.what();
  }
}

TEST_F(TokenStoreTest, AMissingFileIsSoughtFromHere) {
  const std::string here = std::filesystem::current_path();
  EXPECT_EQ(
      error_of([&] { TokenStore::open("gone.h5"); })
          .find("gone.h5: no such file; wanted a token store, which `engram data build` makes of text; sought from " +
                here),
      0u);
  EXPECT_EQ(error_of([&] { TokenStore::open(directory / "gone.h5"); }).find("sought from"), std::string::npos);
}

TEST_F(TokenStoreTest, ADirectoryIsNoStore) {
  std::filesystem::create_directory(path);
  EXPECT_NE(error_on_opening().find("store.h5: is no engram token store"), std::string::npos);
  EXPECT_EQ(TokenStore::memory_of(path), 0);
}

TEST_F(TokenStoreTest, MemoryIsThatOfTheIndex) {
  EXPECT_EQ(TokenStore::memory_of(path), 0);
  constexpr int64_t kNumDocuments = 100000;
  write(std::vector<std::vector<int32_t>>(kNumDocuments, {1, 2, 3, 4, 5, 6, 7, 8, 9, 0}), 10);
  EXPECT_GT(TokenStore::memory_of(path), 8 * kNumDocuments);
  EXPECT_LT(TokenStore::memory_of(path), 8 * kNumDocuments + 20000);
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
