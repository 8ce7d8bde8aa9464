#include "model/memory_addresses.h"

#include <numeric>

#include "kernels/core/device.h"

namespace engram {

NgramLayout make_ngram_layout(const EngramConfig& config, int64_t compressed_vocab) {
  NgramLayoutConfig layout{.layers = config.layers,
                           .max_order = config.max_order(),
                           .heads = config.heads,
                           .rows_per_head = {},
                           .compressed_vocab = compressed_vocab,
                           .base_seed = static_cast<uint64_t>(config.base_seed)};
  for (size_t i = 0; i < config.orders.size(); ++i) {
    layout.rows_per_head.push_back(config.base_rows(static_cast<int64_t>(i)));
  }
  return make_ngram_layout(layout);
}

std::vector<int64_t> rows_per_table(const NgramLayout& layout) {
  std::vector<int64_t> rows;
  for (const NgramLayer& layer : layout.layers) rows.push_back(layer.num_rows);
  return rows;
}

NgramHashConstants host_constants(const NgramLayer& layer, int64_t heads, int32_t pad_id) {
  const auto tensor_over = [](const std::vector<int64_t>& values) {
    return Tensor(const_cast<int64_t*>(values.data()), DType::kInt64, {std::ssize(values)});
  };
  return {.heads = heads,
          .pad_id = pad_id,
          .multipliers = tensor_over(layer.multipliers),
          .primes = tensor_over(layer.primes),
          .offsets = tensor_over(layer.offsets)};
}

namespace {

// The key of each raw token id in n-grams.
std::vector<int32_t> keys_of(const EngramConfig& config, std::span<const int32_t> compressed_ids) {
  std::vector<int32_t> keys(compressed_ids.begin(), compressed_ids.end());
  if (!config.compression) std::iota(keys.begin(), keys.end(), 0);
  return keys;
}

}  // namespace

MemoryAddresses::MemoryAddresses(Stream& stream, const EngramConfig& config, std::span<const int32_t> compressed_ids,
                                 int64_t num_keys, const RowLayout& rows)
    : num_columns_(config.num_columns()), history_(config.max_order() - 1) {
  const auto vocab_size = static_cast<int64_t>(compressed_ids.size());
  const NgramLayout layout = make_ngram_layout(config, config.compression ? num_keys : vocab_size);
  std::vector<int32_t> host_ids = keys_of(config, compressed_ids);
  ENGRAM_CHECK(config.pad_token < vocab_size, "model.engram.pad_token is ", config.pad_token, ", the vocabulary has ",
               vocab_size, " tokens");

  const int64_t per_layer = config.max_order() + 2 * num_columns_;
  const auto num_layers = static_cast<int64_t>(layout.layers.size());
  buffer_ = Buffer(device_of(stream), num_layers * per_layer * size_of(DType::kInt64) + vocab_size * 4);
  auto* next = static_cast<int64_t*>(buffer_.data());
  const auto upload = [&](std::vector<int64_t> values) {
    const auto count = static_cast<int64_t>(values.size());
    const Tensor target(std::exchange(next, next + count), DType::kInt64, {count});
    copy(stream, Tensor(values.data(), DType::kInt64, {count}), target);
    return target;
  };
  const bool is_constant = config.addressing == Addressing::kConstant;
  const std::vector<int64_t> ones(static_cast<size_t>(num_columns_), 1);  // any hash modulo 1 is the first row
  int64_t table = 0;
  for (const NgramLayer& layer : layout.layers) {
    std::vector<int64_t> global_offsets;
    for (const int64_t offset : layer.offsets) global_offsets.push_back(rows.global_row(table, offset));
    constants_.push_back({.heads = config.heads,
                          .pad_id = host_ids[static_cast<size_t>(config.pad_token)],
                          .multipliers = upload(layer.multipliers),
                          .primes = upload(is_constant ? ones : layer.primes),
                          .offsets = upload(global_offsets)});
    ++table;
  }
  compressed_ids_ = Tensor(next, DType::kInt32, {vocab_size});
  copy(stream, Tensor(host_ids.data(), DType::kInt32, {vocab_size}), compressed_ids_);
  synchronize(stream);
}

void MemoryAddresses::rows(Stream& stream, const Tensor& tokens, const Tensor& starts, const Tensor& compressed,
                           const Tensor& rows) const {
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const int64_t num_tokens = batch * (length - history_), per_layer = num_tokens * num_columns_;
  check_tensor("memory rows", rows, DType::kInt64, {num_layers() * per_layer});
  check_tensor("memory compressed tokens", compressed, DType::kInt32, {batch, length});
  compress_tokens(stream, tokens.reshape({batch * length}), compressed_ids_, compressed.reshape({batch * length}));
  for (int64_t layer = 0; layer < num_layers(); ++layer) {
    ngram_hash(stream, compressed, starts, history_, constants_[static_cast<size_t>(layer)],
               rows.rows(layer * per_layer, per_layer).reshape({num_tokens, num_columns_}));
  }
}

}  // namespace engram
