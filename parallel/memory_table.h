#pragma once

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "parallel/row_layout.h"

namespace engram {

struct MemoryTableOptions {
  int64_t width = 0;              // elements of a row
  DType dtype = DType::kFloat32;  // float32 or float64
  uint64_t seed = 0;
  double deviation = 0;  // of the initial values; 0: all rows start at zero
  int num_threads = 1;   // that set them; more only on the host
};

// The rows of all tables that one shard owns. The initial value of an element is
//   deviation * normal(seed, kTableInit, table, row * width + column),
// so it depends neither on the number of shards nor on the order of allocation; padding slots are zero.
class MemoryTable {
 public:
  // Throws Error where the width, dtype or deviation is not allowed or there is no memory left.
  MemoryTable(Stream& stream, const RowLayout& layout, int shard, const MemoryTableOptions& options);

  const Tensor& weight() const { return weight_; }  // [num_slots, width]
  int64_t num_slots() const { return weight_.size(0); }
  int64_t width() const { return weight_.size(1); }

 private:
  Buffer buffer_;
  Tensor weight_;
};

}  // namespace engram
