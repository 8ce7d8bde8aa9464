#include "parallel/memory_table.h"

#include <algorithm>

#include "kernels/core/device.h"
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
  zero(stream, weight_);
  if (options.deviation == 0) return;
  for (const RowLayout::Block& block : layout.blocks(shard)) {
    const RandomFill fill{.seed = options.seed,
                          .domain = RandomDomain::kTableInit,
                          .tensor = static_cast<uint32_t>(block.table),
                          .first_index = static_cast<uint64_t>(block.first_row * width),
                          .mean = 0.0,
                          .deviation = options.deviation};
    fill_normal(stream, weight_.rows(block.first_slot, block.num_rows), fill);
  }
}

}  // namespace engram
