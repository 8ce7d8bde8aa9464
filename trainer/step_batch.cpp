#include "trainer/step_batch.h"

#include <algorithm>
#include <cstring>

#include "kernels/core/device.h"

namespace engram {
namespace {

constexpr int64_t kAlignment = 256;

// The tensors of a batch, one after the other from `base` on, and their bytes with the gaps. base may be null.
StepBatch lay_out(const Batch& batch, char* base, int64_t& num_bytes) {
  num_bytes = 0;
  const auto take = [&](DType dtype, int64_t width) {
    const Tensor tensor(base == nullptr ? nullptr : base + num_bytes, dtype, {batch.num_samples, width});
    num_bytes += (tensor.num_bytes() + kAlignment - 1) / kAlignment * kAlignment;
    return tensor;
  };
  const int64_t seq_len = batch.seq_len, with_history = batch.history + batch.seq_len;
  StepBatch result;
  result.num_sequences = batch.num_samples;
  result.seq_len = seq_len;
  result.tokens = take(DType::kInt32, seq_len);
  result.targets = take(DType::kInt32, seq_len);
  result.starts = take(DType::kUInt8, seq_len);
  result.hash_tokens = take(DType::kInt32, with_history);
  result.hash_starts = take(DType::kUInt8, with_history);
  return result;
}

// Row r of target [num_rows, width] = columns [first, first + width) of row (r + shift) mod num_rows.
template <class T>
void copy_columns(const std::vector<T>& rows, int64_t row_length, int64_t first, const Tensor& target,
                  int64_t shift = 0) {
  const auto num_bytes = static_cast<size_t>(target.size(1)) * sizeof(T);
  for (int64_t row = 0; row < target.size(0); ++row) {
    const int64_t source = (row + shift) % target.size(0);
    std::memcpy(target.rows(row, 1).data, rows.data() + source * row_length + first, num_bytes);
  }
}

void fill(const Batch& batch, const EngramConfig& engram, const StepBatch& host) {
  const int64_t length = batch.row_length(), history = batch.history;
  std::vector<uint8_t> starts = batch.starts;
  if (engram.boundary == NgramBoundary::kSequence) {
    std::fill(starts.begin(), starts.end(), uint8_t{0});
    for (int64_t row = 0; row < batch.num_samples; ++row) starts[static_cast<size_t>(row * length + history)] = 1;
  }
  copy_columns(batch.tokens, length, history, host.tokens);
  copy_columns(batch.tokens, length, history + 1, host.targets);
  copy_columns(starts, length, history, host.starts);
  const int64_t shift = engram.addressing == Addressing::kShuffled ? batch.num_samples / 2 : 0;
  copy_columns(batch.tokens, length, 0, host.hash_tokens, shift);
  copy_columns(starts, length, 0, host.hash_starts, shift);
}

}  // namespace

MicroBatch StepBatch::micro_batch(int64_t first, int64_t count) const {
  const auto flat = [&](const Tensor& all) { return all.rows(first, count).reshape({count * seq_len}); };
  return {.tokens = flat(tokens), .targets = flat(targets), .starts = starts.rows(first, count), .memory = {}};
}

StepBatch BatchMemory::upload(Stream& stream, const Batch& batch, const EngramConfig& engram, int64_t ignore_from) {
  int64_t num_bytes = 0;
  lay_out(batch, nullptr, num_bytes);
  if (num_bytes > device_.num_bytes()) {
    device_ = Buffer(device_of(stream), num_bytes);
    host_ = device_of(stream) == Device::kCuda ? Buffer::pinned(num_bytes) : Buffer(Device::kCpu, num_bytes);
  }
  char* base = static_cast<char*>(host_.data());
  const StepBatch host = lay_out(batch, base, num_bytes);
  std::memset(base, 0, static_cast<size_t>(num_bytes));  // the gaps too: they are copied
  fill(batch, engram, host);
  const int64_t first = std::min(ignore_from, batch.num_samples);
  std::ranges::fill(host_span<int32_t>(host.targets.rows(first, batch.num_samples - first)), -1);
  copy(stream, host_.tensor(DType::kUInt8, {num_bytes}), device_.tensor(DType::kUInt8, {num_bytes}));
  return lay_out(batch, static_cast<char*>(device_.data()), num_bytes);
}

}  // namespace engram
