#include "parallel/row_layout.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "parallel/hash.h"

namespace engram {
namespace {

constexpr int64_t kBlockRows = 4096, kSmallBlockRows = 256;
constexpr int64_t kSmallTable = 1'000'000;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

RowLayout::RowLayout(std::vector<int64_t> rows_per_table, int num_shards)
    : rows_(std::move(rows_per_table)), num_shards_(num_shards), block_rows_(kBlockRows) {
  ENGRAM_CHECK(num_shards >= 1, "row layout: got ", num_shards, " shards, wanted at least 1; see parallel.table");
  for (size_t table = 0; table < rows_.size(); ++table) {
    ENGRAM_CHECK(rows_[table] >= num_shards, "row layout: table ", table, " has ", rows_[table],
                 " rows, wanted at least one for each of its ", num_shards,
                 " ranks; raise model.engram rows or lower parallel.table");
    if (rows_[table] < kSmallTable) block_rows_ = kSmallBlockRows;
  }
  first_block_.push_back(0);
  for (const int64_t rows : rows_) first_block_.push_back(first_block_.back() + ceil_div(rows, block_rows_));
}

int64_t RowLayout::table_of_block(int64_t block) const {
  const auto next = std::upper_bound(first_block_.begin(), first_block_.end(), block);
  return next - first_block_.begin() - 1;
}

bool RowLayout::is_row(int64_t global_row) const {
  if (global_row < 0 || global_row >= end_row()) return false;
  const int64_t table = table_of_block(global_row / block_rows_);
  return global_row - this->global_row(table, 0) < num_rows(table);
}

int64_t RowLayout::num_slots(int shard) const {
  return ceil_div(first_block_.back() - shard, num_shards_) * block_rows_;
}

std::vector<RowLayout::Block> RowLayout::blocks(int shard) const {
  std::vector<Block> result;
  for (int64_t block = shard; block < first_block_.back(); block += num_shards_) {
    const int64_t table = table_of_block(block);
    const int64_t first_row = (block - first_block_[static_cast<size_t>(table)]) * block_rows_;
    result.push_back({.table = table,
                      .first_row = first_row,
                      .num_rows = std::min(block_rows_, num_rows(table) - first_row),
                      .first_slot = block / num_shards_ * block_rows_});
  }
  return result;
}

uint64_t RowLayout::digest() const {
  uint64_t state = hash_mix(static_cast<uint64_t>(block_rows_) << 32 | static_cast<uint32_t>(num_shards_));
  for (const int64_t rows : rows_) state = hash_mix(state + kGoldenOdd + static_cast<uint64_t>(rows));
  return state;
}

}  // namespace engram
