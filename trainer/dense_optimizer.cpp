#include "trainer/dense_optimizer.h"

#include "kernels/adamw.h"
#include "kernels/core/device.h"

namespace engram {

DenseOptimizer::DenseOptimizer(Stream& stream, const DenseOptimizerConfig& config, DType dtype, int64_t part_size)
    : config_(config), buffer_(device_of(stream), 2 * part_size * size_of(dtype)) {
  const Tensor both = buffer_.tensor(dtype, {2 * part_size});
  zero(stream, both);
  m_ = both.rows(0, part_size);
  v_ = both.rows(part_size, part_size);
}

void DenseOptimizer::update(Stream& stream, const Tensor& control, const Tensor& values, const Tensor& grads) const {
  adamw_update(stream,
               {.learning_rate = config_.lr,
                .beta1 = config_.beta1,
                .beta2 = config_.beta2,
                .eps = config_.eps,
                .weight_decay = config_.weight_decay},
               control, values, grads, m_, v_);
}

}  // namespace engram
