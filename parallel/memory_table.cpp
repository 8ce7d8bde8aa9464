#include "parallel/memory_table.h"

#include <algorithm>

#include "kernels/core/device.h"
#include "kernels/core/host_threads.h"
#include "kernels/random_fill.h"

namespace engram {

MemoryTable::MemoryTable(Stream& stream, const RowLayout& layout, int shard, const MemoryTableOptions& options) {
  ENGRAM_CHECK(options.width >= 1, "memory table: got row width ", options.width, ", wanted at least 1");
  ENGRAM_CHECK(options.deviation >= 0, "memory table: got deviation ", options.deviation, ", wanted 0 or more");
  ENGRAM_CHECK(options.dtype == DType::kFloat32 || options.dtype == DType::kFloat64, "memory table: got ",
               name_of(options.dtype), " rows, wanted float32 or float64");
  ENGRAM_CHECK(shard >= 0 && shard < layout.num_shards(), "memory table: got shard ", shard, ", wanted one of ",
               layout.num_shards());
  const int64_t num_slots = layout.num_slots(shard), width = options.width;
  buffer_ = Buffer(device_of(stream), num_slots * width * size_of(options.dtype));
  weight_ = buffer_.tensor(options.dtype, {num_slots, width});
  for_each_part(options.num_threads, num_slots,
                [&](int64_t begin, int64_t end) { zero(stream, weight_.rows(begin, end - begin)); });
  if (options.deviation == 0) return;
  const std::vector<RowLayout::Block> blocks = layout.blocks(shard);
  const auto fill = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const RowLayout::Block& block = blocks[static_cast<size_t>(i)];
      fill_normal(stream, weight_.rows(block.first_slot, block.num_rows),
                  {.seed = options.seed,
                   .domain = RandomDomain::kTableInit,
                   .tensor = static_cast<uint32_t>(block.table),
                   .first_index = static_cast<uint64_t>(block.first_row * width),
                   .mean = 0.0,
                   .deviation = options.deviation});
    }
  };
  for_each_part(options.num_threads, std::ssize(blocks), fill);
}

}  // namespace engram
