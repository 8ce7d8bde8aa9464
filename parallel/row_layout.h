#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace engram {

// Which rank of a table group holds which row. Rows lie in blocks of block_rows() consecutive rows of one table; the
// blocks of all tables are numbered through and dealt to the shards in turn, so every table spreads over every shard
// and a checkpoint moves whole blocks.
//
// A row is named everywhere by its global row, the padded number
//   first_block(table) * block_rows + row,
// from which owner and slot follow by arithmetic: block = global_row / block_rows, owner = block % num_shards,
// slot = block / num_shards * block_rows + global_row % block_rows. Only the last block of a table is short; its
// padding has slots in memory but is no row of the table.
class RowLayout {
 public:
  // A run of rows of one table that lies in consecutive slots of one shard.
  struct Block {
    int64_t table;
    int64_t first_row;
    int64_t num_rows;
    int64_t first_slot;
  };

  // block_rows is 4096, or 256 where any table has fewer than 1,000,000 rows: a property of the tables alone.
  // Throws Error where a table has fewer rows than there are shards.
  RowLayout(std::vector<int64_t> rows_per_table, int num_shards);

  int num_shards() const { return num_shards_; }
  int64_t num_tables() const { return static_cast<int64_t>(rows_.size()); }
  int64_t num_rows(int64_t table) const { return rows_[static_cast<size_t>(table)]; }
  int64_t block_rows() const { return block_rows_; }
  // Number of the first block of each table, and then of the end; the rows of each table.
  std::span<const int64_t> first_blocks() const { return first_block_; }
  std::span<const int64_t> rows_per_table() const { return rows_; }
  // Every global row is below this.
  int64_t end_row() const { return first_block_.back() * block_rows_; }

  int64_t global_row(int64_t table, int64_t row) const {
    return first_block_[static_cast<size_t>(table)] * block_rows_ + row;
  }
  int owner(int64_t global_row) const { return static_cast<int>(global_row / block_rows_ % num_shards_); }
  int64_t slot(int64_t global_row) const {
    return global_row / block_rows_ / num_shards_ * block_rows_ + global_row % block_rows_;
  }
  // The inverse of owner() and slot().
  int64_t global_row_at(int shard, int64_t slot) const {
    return (slot / block_rows_ * num_shards_ + shard) * block_rows_ + slot % block_rows_;
  }
  // True where global_row names a row of a table, not padding and not a number outside all tables.
  bool is_row(int64_t global_row) const;

  // Slots of a shard, padding included; shard 0 has the most.
  int64_t num_slots(int shard) const;
  // The blocks of a shard, in the order of their slots.
  std::vector<Block> blocks(int shard) const;

  // A number that differs between layouts, so that ranks can compare theirs.
  uint64_t digest() const;

 private:
  int64_t table_of_block(int64_t block) const;

  std::vector<int64_t> rows_;
  std::vector<int64_t> first_block_;  // of each table, then of the end
  int num_shards_;
  int64_t block_rows_;
};

}  // namespace engram
