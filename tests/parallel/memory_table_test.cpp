#include "parallel/memory_table.h"

#include "tests/testing.h"

namespace engram {
namespace {

// The rows of all shards, by table and row, one after the other; and the check that padding is zero.
template <class T>
std::vector<T> rows_of_all_shards(const std::vector<int64_t>& tables, int num_shards,
                                  const MemoryTableOptions& options) {
  Stream stream = CpuQueue{};
  const RowLayout layout(tables, num_shards);
  std::vector<T> all(static_cast<size_t>(layout.end_row() * options.width));
  for (int shard = 0; shard < num_shards; ++shard) {
    const MemoryTable table(stream, layout, shard, options);
    const auto values = host_span<const T>(table.weight());
    for (int64_t i = 0; i < table.weight().numel(); ++i) {
      const int64_t row = layout.global_row_at(shard, i / options.width);
      const T value = values[static_cast<size_t>(i)];
      all[static_cast<size_t>(row * options.width + i % options.width)] = value;
      if (!layout.is_row(row)) {
        EXPECT_EQ(value, T(0)) << "padding at slot " << i / options.width;
      }
    }
  }
  return all;
}

TEST(MemoryTableTest, InitialRowsDoNotDependOnTheNumberOfShards) {
  const std::vector<int64_t> tables{1000, 64, 300};
  const MemoryTableOptions options{.width = 5, .dtype = DType::kFloat32, .seed = 3, .deviation = 0.25};
  const auto whole = rows_of_all_shards<float>(tables, 1, options);
  for (const int num_shards : {2, 3, 4, 8, 64}) {
    EXPECT_EQ(rows_of_all_shards<float>(tables, num_shards, options), whole) << num_shards;
  }
}

TEST(MemoryTableTest, ThreadsSetTheSameRows) {
  const std::vector<int64_t> tables{1000, 64, 300};
  MemoryTableOptions options{.width = 5, .dtype = DType::kFloat32, .seed = 3, .deviation = 0.25};
  const auto alone = rows_of_all_shards<float>(tables, 2, options);
  for (const int num_threads : {2, 3, 16}) {
    options.num_threads = num_threads;
    EXPECT_EQ(rows_of_all_shards<float>(tables, 2, options), alone) << num_threads;
  }
}

TEST(MemoryTableTest, ElementsAreKeyedBySeedTableRowAndColumn) {
  const MemoryTableOptions options{.width = 3, .dtype = DType::kFloat64, .seed = 11, .deviation = 0.5};
  const RowLayout layout({300, 400}, 1);
  const auto all = rows_of_all_shards<double>({300, 400}, 1, options);
  for (const int64_t table : {0, 1}) {
    for (const int64_t row : {0, 1, 299}) {
      for (const int64_t column : {0, 2}) {
        const auto index = static_cast<uint64_t>(row * 3 + column);
        EXPECT_EQ(all[static_cast<size_t>(layout.global_row(table, row) * 3 + column)],
                  0.5 * double{normal(11, RandomDomain::kTableInit, static_cast<uint32_t>(table), index)});
      }
    }
  }
}

TEST(MemoryTableTest, RowsHaveTheDeviationAskedFor) {
  const auto all =
      rows_of_all_shards<double>({4096}, 1, {.width = 16, .dtype = DType::kFloat64, .seed = 1, .deviation = 0.02});
  double sum = 0, squares = 0;
  for (const double value : all) sum += value, squares += value * value;
  const auto count = static_cast<double>(all.size());
  EXPECT_NEAR(sum / count, 0.0, 5 * 0.02 / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.02 * 5 / std::sqrt(2 * count));
}

TEST(MemoryTableTest, DeviationZeroGivesZeroRows) {
  const auto all = rows_of_all_shards<float>({300}, 2, {.width = 7, .dtype = DType::kFloat32, .seed = 1});
  for (const float value : all) EXPECT_EQ(value, 0.0f);
}

TEST(MemoryTableTest, AShardWithoutBlocksIsEmpty) {
  Stream stream = CpuQueue{};
  const MemoryTable table(stream, RowLayout({8}, 8), 7,
                          {.width = 4, .dtype = DType::kFloat32, .seed = 1, .deviation = 1});
  EXPECT_EQ(table.num_slots(), 0);
  EXPECT_EQ(table.width(), 4);
}

TEST(MemoryTableTest, RefusesWhatItCannotHold) {
  Stream stream = CpuQueue{};
  const RowLayout layout({300}, 2);
  const auto error = [&](const MemoryTableOptions& options, int shard = 0) {
    return test::error_of([&] { MemoryTable(stream, layout, shard, options); });
  };
  EXPECT_NE(error({.width = 0}).find("got row width 0, wanted at least 1"), std::string::npos);
  EXPECT_NE(error({.width = 1, .dtype = DType::kInt32}).find("got int32 rows, wanted float32"), std::string::npos);
  EXPECT_NE(error({.width = 1, .deviation = -1}).find("got deviation -1, wanted 0 or more"), std::string::npos);
  EXPECT_NE(error({.width = 1}, 2).find("got shard 2, wanted one of 2"), std::string::npos);
}

}  // namespace
}  // namespace engram
