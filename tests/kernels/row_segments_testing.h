#pragma once

#include "kernels/row_segments.h"
#include "tests/testing.h"

namespace engram::test {

// The segments of values whose rows `index` [n] int64 tells, -1 for none, on the host.
inline RowSegments segments_of(Arena& arena, const Tensor& index, int64_t num_rows) {
  std::vector<std::vector<int32_t>> of_row(static_cast<size_t>(num_rows));
  for (int32_t i = 0; i < index.size(0); ++i) {
    const int64_t row = host_span<int64_t>(index)[static_cast<size_t>(i)];
    if (row >= 0) of_row.at(static_cast<size_t>(row)).push_back(i);
  }
  std::vector<int32_t> order, offsets{0};
  for (const std::vector<int32_t>& values : of_row) {
    order.insert(order.end(), values.begin(), values.end());
    offsets.push_back(static_cast<int32_t>(order.size()));
  }
  order.resize(static_cast<size_t>(index.size(0)), -1);  // what no row has
  return {.order = tensor_of(arena, order, {index.size(0)}), .offsets = tensor_of(arena, offsets, {num_rows + 1})};
}

}  // namespace engram::test
