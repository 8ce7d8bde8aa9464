#include "trainer/run_data.h"

#include <filesystem>
#include <fstream>

#include "parallel/thread_communicator.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

constexpr int64_t kBlock = 1 << 19, kNumBlocks = 3;

// Ranks that open a store together; some see it under a name of their own.
struct SharedStoreTest : ::testing::Test {
  test::TemporaryDirectory directory;
  const std::string path = directory / "store.h5";
  const BpeTokenizer tokenizer =
      BpeTokenizer::load(std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json");

  void SetUp() override { write(path, 1); }
  void write(const std::string& name, int32_t token) const {
    TokenStoreWriter writer(name, {.tokenizer_digest = tokenizer.digest(),
                                   .vocab_size = tokenizer.vocabulary_size(),
                                   .eos_id = 0,
                                   .num_tokens = kBlock * kNumBlocks,
                                   .num_documents = kNumBlocks});
    for (int64_t block = 0; block < kNumBlocks; ++block) {
      writer.append(std::vector<int32_t>(kBlock, token));
    }
    writer.finish();
  }
  static void damage(const std::string& name, int64_t block) {
    std::fstream file(name, std::ios::binary | std::ios::in | std::ios::out);
    const auto middle = static_cast<int64_t>(std::filesystem::file_size(name)) / 2;
    file.seekp(middle + 2 * kBlock * (block - 1)).put('\7');  // the file is little more than its tokens
    ASSERT_TRUE(file.flush().good());
  }
  // What each rank is told; those of `own` open the other file.
  std::vector<std::string> open_on(int num_ranks, const std::vector<int>& own = {},
                                   const std::string& other = "") const {
    std::vector<std::string> errors(static_cast<size_t>(num_ranks));
    run_ranks(num_ranks, [&](Communicator& world) {
      const bool has_own = std::ranges::find(own, world.rank()) != own.end();
      errors[static_cast<size_t>(world.rank())] = test::error_of([&] {
        const TokenStore store = open_store(world, has_own ? other : path, tokenizer);
        EXPECT_EQ(store.num_tokens(), kBlock * kNumBlocks);
      });
    });
    return errors;
  }
};

TEST_F(SharedStoreTest, DamageInAnyBlockIsToldOnEveryRank) {
  for (int64_t block = 0; block < kNumBlocks; ++block) {
    damage(path, block);
    for (const int num_ranks : {1, 2, 3, 5}) {
      for (const std::string& error : open_on(num_ranks)) {
        EXPECT_NE(error.find("tokens: block " + std::to_string(block) + " (from token"), std::string::npos) << error;
      }
    }
    write(path, 1);
  }
  for (const std::string& error : open_on(4)) EXPECT_EQ(error, "");
}

// Ranks that have the same file share its blocks, so that a copy is checked whole by those who read it.
TEST_F(SharedStoreTest, EveryCopyIsCheckedWhole) {
  const std::string copy = directory / "copy.h5";
  for (int64_t block = 0; block < kNumBlocks; ++block) {
    std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(open_on(3, {1}, copy), (std::vector<std::string>(3)));
    damage(copy, block);
    for (const std::string& error : open_on(3, {1}, copy)) {
      EXPECT_NE(error.find("copy.h5: tokens: block " + std::to_string(block)), std::string::npos) << error;
    }
  }
}

TEST_F(SharedStoreTest, AnotherStoreUnderTheSameNameIsRefused) {
  const std::string other = directory / "other.h5";
  write(other, 2);
  for (const std::string& error : open_on(3, {2}, other)) {
    EXPECT_NE(error.find("wanted the same store on every host"), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace engram
