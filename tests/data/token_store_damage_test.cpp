#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/sealed_file.h"
#include "data/token_store.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

// Every byte of a small store, altered once.
struct TokenStoreDamageTest : ::testing::Test {
  test::TemporaryDirectory directory;
  const std::string path = directory / "store.h5";
  std::string bytes;
  std::string contents;  // of the store as it should be
  ByteRange gap;         // that the seal leaves

  void SetUp() override {
    TokenStoreHeader header{.tokenizer_digest = "0123456789abcdef",
                            .vocab_size = 300,
                            .eos_id = 0,
                            .num_tokens = 60,
                            .num_documents = 3,
                            .sources = {{.path = "a.txt", .digest = "d", .num_documents = 3, .num_tokens = 60}}};
    TokenStoreWriter writer(path, header);
    for (int32_t first : {1, 101, 201}) {
      std::vector<int32_t> document(20);
      for (int32_t& token : document) token = first++;
      writer.append(document);
    }
    writer.finish();
    bytes = test::read_file(path);
    gap = check_seal(path, "engram token store");
    contents = contents_now();
  }
  // All that a store says, as text. Throws Error as TokenStore::open().
  std::string contents_now() const {
    const TokenStore store = TokenStore::open(path);
    const TokenStoreHeader& header = store.header();
    std::ostringstream text;
    text << store.digest() << ' ' << header.tokenizer_digest << ' ' << header.vocab_size << ' ' << header.eos_id;
    for (const StoreSource& source : header.sources) {
      text << ' ' << source.path << ' ' << source.digest << ' ' << source.num_documents << ' ' << source.num_tokens;
    }
    for (const uint64_t offset : store.doc_offsets()) text << ' ' << offset;
    std::vector<int32_t> tokens(static_cast<size_t>(store.num_tokens()));
    std::vector<uint8_t> starts(tokens.size());
    store.read(0, tokens, starts);
    for (const int32_t token : tokens) text << ' ' << token;
    return text.str();
  }
  void write_with_byte(size_t at, char byte) const {
    const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_TRUE(file >= 0 && ::pwrite(file, &byte, 1, static_cast<off_t>(at)) == 1);
    ::close(file);
  }
  char flipped(size_t at) const { return static_cast<char>(bytes[at] ^ (1 << at % 8)); }
};

TEST_F(TokenStoreDamageTest, EveryFlippedByteIsRefused) {
  ASSERT_EQ(contents_now(), contents);
  for (size_t at = 0; at < bytes.size(); ++at) {
    write_with_byte(at, flipped(at));
    const std::string error = error_of([&] { contents_now(); });
    EXPECT_EQ(error.find(path + ": "), 0u) << "byte " << at << ": " << error;
    write_with_byte(at, bytes[at]);
  }
  EXPECT_EQ(contents_now(), contents);
}

TEST_F(TokenStoreDamageTest, EveryShorterAndLongerFileIsRefused) {
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 50) {
    test::write_file(path, bytes.substr(0, size));
    EXPECT_EQ(error_of([&] { contents_now(); }).find(path + ": "), 0u) << size;
  }
  test::write_file(path, bytes + '\0');
  EXPECT_EQ(error_of([&] { contents_now(); }).find(path + ": "), 0u);
}

// What the child that opens altered stores tells its parent, in memory that both see.
struct ChildProgress {
  size_t at = 0;  // the byte that it is altering
  int num_refused = 0, num_wrong = 0;
};

// The same where whoever altered the store sealed it again, so that HDF5 gets to see it: refused or harmless, and no
// crash or hang of the library. In a child, because it may.
TEST_F(TokenStoreDamageTest, EveryFlippedByteUnderASealIsRefusedOrHarmless) {
  void* memory = ::mmap(nullptr, sizeof(ChildProgress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* progress = new (memory) ChildProgress{.at = kSealBytes};
  const auto try_the_rest = [&] {
    for (; progress->at < bytes.size(); ++progress->at) {
      constexpr unsigned kMostSeconds = 60;  // of one file, on a machine however busy
      ::alarm(kMostSeconds);
      write_with_byte(progress->at, flipped(progress->at));
      seal_file(path, "engram token store", gap);
      const std::string error = error_of([&] { progress->num_wrong += contents_now() != contents; });
      progress->num_refused += !error.empty();
      write_with_byte(progress->at, bytes[progress->at]);
    }
  };
  while (progress->at < bytes.size()) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try_the_rest();
      std::_Exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "at byte " << progress->at;  // a crash or a hang
    if (status != 0) write_with_byte(progress->at, bytes[progress->at]), ++progress->at;
  }
  EXPECT_EQ(progress->num_wrong, 0);
  EXPECT_GT(progress->num_refused, static_cast<int>(bytes.size()) / 3);  // most others are room that HDF5 leaves unused
  ::munmap(memory, sizeof(ChildProgress));
}

}  // namespace
}  // namespace engram
