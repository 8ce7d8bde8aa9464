#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// How rows of tables are dealt to shards in blocks (RowLayout in parallel/ decides it).
struct RowBlocks {
  int64_t block_rows = 1;
  int64_t num_shards = 1;
  int64_t shard_slots = 0;  // keys of one shard
};

// The key of each row, dense and ascending by (owner, slot):
//   block = row / block_rows
//   key   = block % num_shards * shard_slots + block / num_shards * block_rows + row % block_rows
// and -1 where the row is -1 or no row of any table.
//
//   rows        [n]               int64
//   first_block [num_tables + 1]  int64, ascending: the blocks of table t begin at first_block[t]
//   table_rows  [num_tables]      int64: the rows of table t are the first ones of its blocks
//   keys        [n]               int64, written; may be rows
//   findings    [2]               int64, written: the lowest i where rows[i] is neither -1 nor a row, n if there is
//                                 none; and how many keys are -1
//
// Throws Error where a shape or dtype does not fit.
void row_keys(Stream& stream, const Tensor& rows, const RowBlocks& blocks, const Tensor& first_block,
              const Tensor& table_rows, const Tensor& keys, const Tensor& findings);

}  // namespace engram
