#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"
#include "kernels/row_keys.h"

namespace engram {

struct RowKeys {
  View<const int64_t, 1> rows;
  RowBlocks blocks;
  View<const int64_t, 1> first_block;
  View<const int64_t, 1> table_rows;
  View<int64_t, 1> keys;
  View<int64_t, 1> findings;
};

// Whether `row` is one of a table.
ENGRAM_HOST_DEVICE inline bool is_row(const RowKeys& a, int64_t row) {
  const int64_t num_tables = a.table_rows.size(0), block = row / a.blocks.block_rows;
  if (row < 0 || block >= a.first_block(num_tables)) return false;
  int64_t low = 0, high = num_tables;  // the table lies in [low, high)
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (a.first_block(middle) <= block ? low : high) = middle;
  }
  return row - a.first_block(low) * a.blocks.block_rows < a.table_rows(low);
}

ENGRAM_HOST_DEVICE inline int64_t key_of(const RowBlocks& blocks, int64_t row) {
  const int64_t block = row / blocks.block_rows;
  return block % blocks.num_shards * blocks.shard_slots + block / blocks.num_shards * blocks.block_rows +
         row % blocks.block_rows;
}

void run(CpuQueue&, const RowKeys&);
void run(CudaQueue&, const RowKeys&);

}  // namespace engram
