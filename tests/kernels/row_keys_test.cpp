#include "kernels/row_keys.h"

#include "tests/testing.h"

namespace engram {
namespace {

struct RowKeysTest : test::CpuFixture {
  // Two tables of 10 and 3 rows in blocks of 4, on 2 shards: blocks 0 to 2 and 3.
  std::vector<int64_t> keys_of(const std::vector<int64_t>& rows, const Tensor& keys) {
    const Tensor findings = arena.take("findings", DType::kInt64, {2});
    row_keys(stream, test::tensor_of<int64_t>(arena, rows, {std::ssize(rows)}),
             {.block_rows = 4, .num_shards = 2, .shard_slots = 8}, test::tensor_of<int64_t>(arena, {0, 3, 4}, {3}),
             test::tensor_of<int64_t>(arena, {10, 3}, {2}), keys, findings);
    return {host_span<int64_t>(findings)[0], host_span<int64_t>(findings)[1]};
  }
};

TEST_F(RowKeysTest, KeysByHand) {
  const Tensor keys = arena.take("keys", DType::kInt64, {9});
  // Block 0 is slots 0 to 3 of shard 0, block 1 those of shard 1, block 2 and 3 slots 4 to 7 of either.
  EXPECT_EQ(keys_of({0, 3, 4, 7, 8, 9, -1, 12, 14}, keys), (std::vector<int64_t>{9, 1}));
  EXPECT_TRUE(test::same_bits(keys, test::tensor_of<int64_t>(arena, {0, 3, 8, 11, 4, 5, -1, 12, 14}, {9})));
}

TEST_F(RowKeysTest, FindsTheFirstNumberThatIsNoRow) {
  const Tensor keys = arena.take("keys", DType::kInt64, {4});
  for (const int64_t wrong : {int64_t{10}, int64_t{11}, int64_t{15}, int64_t{16}, int64_t{-2}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(keys_of({-1, 2, wrong, wrong}, keys), (std::vector<int64_t>{2, 3})) << wrong;
    EXPECT_TRUE(test::same_bits(keys, test::tensor_of<int64_t>(arena, {-1, 2, -1, -1}, {4}))) << wrong;
  }
  EXPECT_EQ(keys_of({}, keys.rows(0, 0)), (std::vector<int64_t>{0, 0}));
}

TEST_F(RowKeysTest, RefusesTensorsThatDoNotFit) {
  const Tensor keys = arena.take("keys", DType::kInt64, {4});
  const std::string message = test::error_of([&] { keys_of({1}, keys); });
  EXPECT_NE(message.find("keys: got int64 [4], wanted int64 [1]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
