#include "trainer/dense_optimizer.h"

#include "kernels/adamw.h"
#include "kernels/convert.h"
#include "kernels/core/device.h"

namespace engram {

DType moment_dtype(const DenseOptimizerConfig& config, DType dtype) {
  return config.moments == Moments::kBFloat16 ? DType::kBFloat16 : accumulator(dtype);
}

DenseOptimizer::DenseOptimizer(Stream& stream, const DenseOptimizerConfig& config, DType dtype, int64_t part_size)
    : config_(config) {
  const DType wide = accumulator(dtype), moment = moment_dtype(config, dtype);
  moments_ = Buffer(device_of(stream), 2 * part_size * size_of(moment));
  const Tensor both = moments_.tensor(moment, {2 * part_size});
  zero(stream, both);
  m_ = both.rows(0, part_size);
  v_ = both.rows(part_size, part_size);
  if (wide == dtype) return;
  weights_ = Buffer(device_of(stream), part_size * size_of(wide));
  master_ = weights_.tensor(wide, {part_size});
  zero(stream, master_);
}

void DenseOptimizer::publish(Stream& stream, const Tensor& values) const {
  if (!master_.empty()) convert(stream, master_, values);
}

void DenseOptimizer::update(Stream& stream, const Tensor& control, const Tensor& values, const Tensor& grads) const {
  adamw_update(stream,
               {.learning_rate = config_.lr,
                .beta1 = config_.beta1,
                .beta2 = config_.beta2,
                .eps = config_.eps,
                .weight_decay = config_.weight_decay},
               control, weights(values), grads, m_, v_, master_.empty() ? Tensor{} : values);
}

}  // namespace engram
