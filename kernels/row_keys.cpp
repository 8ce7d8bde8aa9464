#include "kernels/row_keys.h"

#include "kernels/core/dispatch.h"
#include "kernels/row_keys_impl.h"

namespace engram {

void row_keys(Stream& stream, const Tensor& rows, const RowBlocks& blocks, const Tensor& first_block,
              const Tensor& table_rows, const Tensor& keys, const Tensor& findings) {
  check_tensor("row_keys: rows", rows, DType::kInt64, {-1});
  check_tensor("row_keys: table_rows", table_rows, DType::kInt64, {-1});
  check_tensor("row_keys: first_block", first_block, DType::kInt64, {table_rows.size(0) + 1});
  check_tensor("row_keys: keys", keys, DType::kInt64, {rows.size(0)});
  check_tensor("row_keys: findings", findings, DType::kInt64, {2});
  ENGRAM_CHECK(blocks.block_rows >= 1 && blocks.num_shards >= 1 && table_rows.size(0) >= 1, "row_keys: got ",
               table_rows.size(0), " tables in blocks of ", blocks.block_rows, " rows on ", blocks.num_shards,
               " shards, wanted at least one of each");
  dispatch<Cpu<int64_t>, Cuda<int64_t>>("row_keys", stream, rows.dtype, [&]<class T>(auto& queue) {
    run(queue, RowKeys{.rows = view<const T, 1>(rows),
                       .blocks = blocks,
                       .first_block = view<const T, 1>(first_block),
                       .table_rows = view<const T, 1>(table_rows),
                       .keys = view<T, 1>(keys),
                       .findings = view<T, 1>(findings)});
  });
}

}  // namespace engram
