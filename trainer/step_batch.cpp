#include "trainer/step_batch.h"

#include <algorithm>

#include "kernels/core/device.h"

namespace engram {
namespace {

// Columns [first, first + width) of every row, contiguous on the device.
template <class T>
Tensor upload_columns(Stream& stream, Arena& arena, const std::vector<T>& rows, int64_t row_length, int64_t first,
                      int64_t width) {
  const auto num_rows = static_cast<int64_t>(rows.size()) / row_length;
  const Tensor target = arena.take("batch", dtype_of<T>, {num_rows, width});
  for (int64_t row = 0; row < num_rows; ++row) {
    const T* source = rows.data() + row * row_length + first;
    copy(stream, Tensor(const_cast<T*>(source), dtype_of<T>, {width}), target.rows(row, 1));  // read only
  }
  return target;
}

}  // namespace

MicroBatch StepBatch::micro_batch(int64_t first, int64_t count) const {
  const auto flat = [&](const Tensor& all) { return all.rows(first, count).reshape({count * seq_len}); };
  return {.tokens = flat(tokens), .targets = flat(targets), .starts = starts.rows(first, count), .memory = {}};
}

StepBatch upload(Stream& stream, Arena& arena, const Batch& batch, NgramBoundary boundary) {
  const int64_t length = batch.row_length(), history = batch.history, seq_len = batch.seq_len;
  std::vector<uint8_t> starts = batch.starts;
  if (boundary == NgramBoundary::kSequence) {
    std::fill(starts.begin(), starts.end(), uint8_t{0});
    for (int64_t row = 0; row < batch.num_samples; ++row) starts[static_cast<size_t>(row * length + history)] = 1;
  }
  const StepBatch result{.num_sequences = batch.num_samples,
                         .seq_len = seq_len,
                         .tokens = upload_columns(stream, arena, batch.tokens, length, history, seq_len),
                         .targets = upload_columns(stream, arena, batch.tokens, length, history + 1, seq_len),
                         .starts = upload_columns(stream, arena, starts, length, history, seq_len),
                         .hash_tokens = upload_columns(stream, arena, batch.tokens, length, 0, history + seq_len),
                         .hash_starts = upload_columns(stream, arena, starts, length, 0, history + seq_len)};
  synchronize(stream);  // the host rows end with this call
  return result;
}

}  // namespace engram
