#include "trainer/table_optimizer.h"

#include "kernels/core/device.h"
#include "kernels/core/host_threads.h"
#include "kernels/row_update.h"

namespace engram {
namespace {

constexpr int64_t kAlignment = 64;

struct ArrayShape {
  const char* name;
  DType dtype;
  int64_t width;  // elements per row; 0 = one scalar per row
};

std::vector<ArrayShape> arrays_of(TableOptimizerKind kind, int64_t width, DType dtype) {
  switch (kind) {
    case TableOptimizerKind::kSgd:
      return {};
    case TableOptimizerKind::kAdamDense:
      return {{"m", dtype, width}, {"v", dtype, width}};
    case TableOptimizerKind::kRowwiseAdam:
      return {{"m", dtype, width}, {"v", dtype, 0}, {"count", DType::kInt32, 0}};
    case TableOptimizerKind::kRowwiseAdagrad:
      return {{"s", dtype, 0}};
    case TableOptimizerKind::kAdamLazy:
      break;
  }
  return {{"m", dtype, width}, {"v", dtype, width}, {"count", DType::kInt32, 0}};
}

int64_t bytes_per_row(const ArrayShape& array) { return std::max<int64_t>(array.width, 1) * size_of(array.dtype); }

}  // namespace

int64_t table_state_bytes_per_row(TableOptimizerKind kind, int64_t width, DType dtype) {
  int64_t num_bytes = 0;
  for (const ArrayShape& array : arrays_of(kind, width, accumulator(dtype))) num_bytes += bytes_per_row(array);
  return num_bytes;
}

TableOptimizer::TableOptimizer(Stream& stream, const OptimizerConfig& config, const Tensor& weight, int num_threads)
    : config_(config.table), lr_(config.dense.lr * config.table.lr_mult), weight_(weight) {
  const int64_t num_slots = weight.size(0);
  const auto arrays = arrays_of(config_.kind, weight.size(1), accumulator(weight.dtype));
  const auto aligned = [&](const ArrayShape& array) {
    return (num_slots * bytes_per_row(array) + kAlignment - 1) / kAlignment * kAlignment;
  };
  int64_t num_bytes = 0;
  for (const ArrayShape& array : arrays) num_bytes += aligned(array);
  buffer_ = Buffer(device_of(stream), num_bytes);
  const Tensor bytes = buffer_.tensor(DType::kUInt8, {num_bytes});
  for_each_part(num_threads, num_bytes,
                [&](int64_t begin, int64_t end) { zero(stream, bytes.rows(begin, end - begin)); });
  char* next = static_cast<char*>(buffer_.data());
  for (const ArrayShape& array : arrays) {
    state_.push_back({array.name, array.width == 0 ? Tensor(next, array.dtype, {num_slots})
                                                   : Tensor(next, array.dtype, {num_slots, array.width})});
    next += aligned(array);
  }
}

std::vector<Tensor> TableOptimizer::arrays() const {
  std::vector<Tensor> arrays{weight_};
  for (const OptimizerArray& array : state_) arrays.push_back(array.value);
  return arrays;
}

void TableOptimizer::update(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grads,
                            std::span<const Tensor> arrays) const {
  const Tensor& weight = arrays[0];
  const RowAdamOptions adam{.lr = lr_, .beta1 = config_.beta1, .beta2 = config_.beta2, .eps = config_.eps};
  const auto moments = [&] { return RowAdamState{.m = arrays[1], .v = arrays[2]}; };
  switch (config_.kind) {
    case TableOptimizerKind::kSgd:
      row_update_sgd(stream, control, slots, grads, lr_, weight);
      break;
    case TableOptimizerKind::kAdamDense:
      row_update_adam_dense(stream, control, slots, grads, adam, weight, moments());
      break;
    case TableOptimizerKind::kAdamLazy:
      row_update_adam_lazy(stream, control, slots, grads, adam, weight, moments(), arrays[3]);
      break;
    case TableOptimizerKind::kRowwiseAdam:
      row_update_rowwise_adam(stream, control, slots, grads, adam, weight, moments(), arrays[3]);
      break;
    case TableOptimizerKind::kRowwiseAdagrad:
      row_update_rowwise_adagrad(stream, control, slots, grads, {.lr = lr_, .eps = config_.eps}, weight, arrays[1]);
      break;
  }
}

}  // namespace engram
