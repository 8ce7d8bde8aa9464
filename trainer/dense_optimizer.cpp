#include "trainer/dense_optimizer.h"

#include "kernels/adamw.h"
#include "kernels/convert.h"
#include "kernels/core/device.h"

namespace engram {

DenseOptimizer::DenseOptimizer(Stream& stream, const DenseOptimizerConfig& config, DType dtype, int64_t part_size)
    : config_(config) {
  const DType wide = accumulator(dtype);
  const int64_t num_arrays = wide == dtype ? 2 : 3;
  buffer_ = Buffer(device_of(stream), num_arrays * part_size * size_of(wide));
  const Tensor all = buffer_.tensor(wide, {num_arrays * part_size});
  zero(stream, all);
  m_ = all.rows(0, part_size);
  v_ = all.rows(part_size, part_size);
  if (num_arrays == 3) master_ = all.rows(2 * part_size, part_size);
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
