#include "kernels/ngram_hash.h"

#include "tests/testing.h"

namespace engram {
namespace {

using NgramHashTest = test::CpuFixture;

std::vector<int64_t> values_of(const Tensor& rows) {
  const auto span = host_span<int64_t>(rows);
  return {span.begin(), span.end()};
}

NgramHashConstants constants(Arena& arena) {
  return {.heads = 2,
          .pad_id = 0,
          .multipliers = test::tensor_of<int64_t>(arena, {3, 5, 7}, {3}),
          .primes = test::tensor_of<int64_t>(arena, {5, 7, 11, 13}, {4}),
          .offsets = test::tensor_of<int64_t>(arena, {0, 5, 12, 23}, {4})};
}

TEST_F(NgramHashTest, CompressedTokensAreLookedUpAndDeadOnesKept) {
  const Tensor map = test::tensor_of<int32_t>(arena, {4, 4, 0, 2}, {4});
  const Tensor tokens = test::tensor_of<int32_t>(arena, {3, 0, kDeadToken, 1, 2}, {5});
  compress_tokens(stream, tokens, map, tokens);
  const auto got = host_span<int32_t>(tokens);
  EXPECT_EQ((std::vector<int32_t>{got.begin(), got.end()}), (std::vector<int32_t>{2, 4, kDeadToken, 4, 0}));
}

TEST_F(NgramHashTest, TokensOutsideTheVocabularyAreRefused) {
  const Tensor map = test::tensor_of<int32_t>(arena, {0, 1}, {2});
  const Tensor out = arena.take("out", DType::kInt32, {2});
  for (const int32_t bad : {2, -2}) {
    const Tensor tokens = test::tensor_of<int32_t>(arena, {1, bad}, {2});
    const std::string message = test::error_of([&] { compress_tokens(stream, tokens, map, out); });
    EXPECT_NE(message.find("token " + std::to_string(bad) + " at position 1; wanted 0 to 1"), std::string::npos)
        << message;
  }
}

TEST_F(NgramHashTest, BatchRowsAreHashedEachWithItsOwnHistory) {
  const Tensor both = test::tensor_of<int32_t>(arena, {1, 2, 3, 6, 3, 2}, {2, 3});
  const Tensor starts = test::tensor_of<uint8_t>(arena, {0, 0, 0, 0, 1, 0}, {2, 3});
  const Tensor rows = arena.take("rows", DType::kInt64, {4, 4});
  ngram_hash(stream, both, starts, 1, constants(arena), rows);
  for (const int64_t batch : {0, 1}) {
    const Tensor alone = arena.take("rows", DType::kInt64, {2, 4});
    ngram_hash(stream, both.rows(batch, 1), starts.rows(batch, 1), 1, constants(arena), alone);
    EXPECT_TRUE(test::same_bits(alone, rows.rows(2 * batch, 2)));
  }
  // Window 3, 2, 1: 3*3 ^ 2*5 = 3, 3 ^ 1*7 = 4. Window 3, then a start: 3*3 ^ 0 = 9, 9.
  EXPECT_EQ(values_of(rows.rows(1, 1)), (std::vector<int64_t>{3, 8, 16, 27}));
  EXPECT_EQ(values_of(rows.rows(2, 1)), (std::vector<int64_t>{4, 7, 21, 32}));
}

TEST_F(NgramHashTest, EmptySizesWork) {
  const Tensor none = arena.take("rows", DType::kInt64, {0, 4});
  ngram_hash(stream, arena.take("ids", DType::kInt32, {0, 5}), {}, 2, constants(arena), none);
  ngram_hash(stream, arena.take("ids", DType::kInt32, {3, 2}), {}, 2, constants(arena), none);
  const Tensor tokens = arena.take("tokens", DType::kInt32, {0});
  compress_tokens(stream, tokens, arena.take("map", DType::kInt32, {0}), tokens);
}

TEST_F(NgramHashTest, RefusesWhatDoesNotFit) {
  const Tensor ids = test::tensor_of<int32_t>(arena, {1, 2}, {1, 2});
  const Tensor rows = arena.take("rows", DType::kInt64, {2, 4});
  std::string message = test::error_of([&] { ngram_hash(stream, ids, {}, 3, constants(arena), rows); });
  EXPECT_NE(message.find("history 3; wanted 0 to the 2 positions given"), std::string::npos) << message;
  message = test::error_of([&] { ngram_hash(stream, ids, {}, 1, constants(arena), rows); });
  EXPECT_NE(message.find("rows: got int64 [2, 4], wanted int64 [1, 4]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
