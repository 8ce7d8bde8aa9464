#include "parallel/row_layout.h"

#include "tests/testing.h"

namespace engram {
namespace {

// Every logical row, in the order of global rows.
std::vector<int64_t> all_rows(const RowLayout& layout) {
  std::vector<int64_t> rows;
  for (int64_t table = 0; table < layout.num_tables(); ++table) {
    for (int64_t row = 0; row < layout.num_rows(table); ++row) rows.push_back(layout.global_row(table, row));
  }
  return rows;
}

TEST(RowLayoutTest, BlockSizeDependsOnTheSmallestTable) {
  EXPECT_EQ(RowLayout({1'000'000, 3'000'001}, 4).block_rows(), 4096);
  EXPECT_EQ(RowLayout({999'999, 3'000'001}, 4).block_rows(), 256);
}

TEST(RowLayoutTest, RowsFollowTheArithmeticOfTheContract) {
  const RowLayout layout({1000, 300, 257}, 3);  // 4 + 2 + 2 blocks of 256
  EXPECT_EQ(layout.global_row(0, 999), 999);
  EXPECT_EQ(layout.global_row(1, 0), 4 * 256);
  EXPECT_EQ(layout.global_row(2, 256), 7 * 256);
  EXPECT_EQ(layout.end_row(), 8 * 256);
  EXPECT_EQ(layout.owner(4 * 256 + 5), 4 % 3);
  EXPECT_EQ(layout.slot(4 * 256 + 5), 256 + 5);
  EXPECT_EQ(layout.num_slots(0), 3 * 256);
  EXPECT_EQ(layout.num_slots(1), 3 * 256);
  EXPECT_EQ(layout.num_slots(2), 2 * 256);
}

TEST(RowLayoutTest, EverySlotHoldsOneRowOrPadding) {
  for (const int num_shards : {1, 2, 3, 4, 8, 64}) {
    const RowLayout layout({1000, 300, 64, 257}, num_shards);
    std::vector<std::vector<int>> uses(static_cast<size_t>(num_shards));
    for (int shard = 0; shard < num_shards; ++shard) {
      uses[static_cast<size_t>(shard)].resize(static_cast<size_t>(layout.num_slots(shard)));
    }
    for (const int64_t row : all_rows(layout)) {
      EXPECT_TRUE(layout.is_row(row));
      const int owner = layout.owner(row);
      const int64_t slot = layout.slot(row);
      ASSERT_LT(slot, layout.num_slots(owner));
      EXPECT_EQ(++uses[static_cast<size_t>(owner)][static_cast<size_t>(slot)], 1);
      EXPECT_EQ(layout.global_row_at(owner, slot), row);
    }
    for (int shard = 0; shard < num_shards; ++shard) {
      for (int64_t slot = 0; slot < layout.num_slots(shard); ++slot) {
        EXPECT_EQ(layout.is_row(layout.global_row_at(shard, slot)),
                  uses[static_cast<size_t>(shard)][static_cast<size_t>(slot)] == 1);
      }
    }
  }
}

TEST(RowLayoutTest, BlocksOfAllShardsAreTheTables) {
  for (const int num_shards : {1, 3, 8, 64}) {
    const RowLayout layout({1000, 300, 64, 257}, num_shards);
    std::vector<int64_t> rows;
    for (int shard = 0; shard < num_shards; ++shard) {
      for (const RowLayout::Block& block : layout.blocks(shard)) {
        EXPECT_EQ(block.first_row % layout.block_rows(), 0);
        for (int64_t i = 0; i < block.num_rows; ++i) {
          rows.push_back(layout.global_row(block.table, block.first_row + i));
          EXPECT_EQ(layout.owner(rows.back()), shard);
          EXPECT_EQ(layout.slot(rows.back()), block.first_slot + i);
        }
      }
    }
    std::sort(rows.begin(), rows.end());
    EXPECT_EQ(rows, all_rows(layout));
  }
}

TEST(RowLayoutTest, PaddingAndNumbersOutsideAreNoRows) {
  const RowLayout layout({1000, 300}, 2);
  for (const int64_t row : {int64_t{-1}, int64_t{-2}, int64_t{1000}, int64_t{1023}, int64_t{1024 + 300},
                            layout.end_row(), layout.end_row() + 1, INT64_MAX, INT64_MIN}) {
    EXPECT_FALSE(layout.is_row(row)) << row;
  }
}

TEST(RowLayoutTest, LargeTablesNeedSixtyFourBits) {
  const RowLayout layout({int64_t{10'000'000'019}, int64_t{5'000'000'029}}, 7);
  const int64_t row = layout.global_row(1, 4'999'999'999);
  EXPECT_GT(row, int64_t{1} << 32);
  EXPECT_EQ(layout.global_row_at(layout.owner(row), layout.slot(row)), row);
  EXPECT_LT(layout.slot(row), layout.num_slots(layout.owner(row)));
}

TEST(RowLayoutTest, ShardsBeyondTheBlocksAreEmpty) {
  const RowLayout layout({8, 9}, 8);  // two blocks
  EXPECT_EQ(layout.num_slots(1), 256);
  EXPECT_EQ(layout.num_slots(2), 0);
  EXPECT_TRUE(layout.blocks(7).empty());
}

TEST(RowLayoutTest, RefusesTablesSmallerThanTheirRanks) {
  const std::string message = test::error_of([] { RowLayout({100, 7}, 8); });
  EXPECT_NE(message.find("table 1 has 7 rows, wanted at least one for each of its 8 ranks"), std::string::npos)
      << message;
}

TEST(RowLayoutTest, DigestTellsLayoutsApart) {
  const uint64_t digest = RowLayout({1000, 300}, 2).digest();
  EXPECT_EQ(RowLayout({1000, 300}, 2).digest(), digest);
  EXPECT_NE(RowLayout({1000, 301}, 2).digest(), digest);
  EXPECT_NE(RowLayout({300, 1000}, 2).digest(), digest);
  EXPECT_NE(RowLayout({1000, 300}, 3).digest(), digest);
}

}  // namespace
}  // namespace engram
