#pragma once

#include "kernels/core/buffer.h"
#include "trainer/optimizer_state.h"
#include "trainer/run_config.h"

namespace engram {

// AdamW on this rank's part of the flat parameters; the formula is that of kernels/adamw.h.
class DenseOptimizer {
 public:
  // State of zeros for part_size elements.
  DenseOptimizer(Stream& stream, const DenseOptimizerConfig& config, DType dtype, int64_t part_size);

  // values, grads [part_size]; control [4] as in kernels/update_control.h.
  void update(Stream& stream, const Tensor& control, const Tensor& values, const Tensor& grads) const;

  OptimizerState state() const { return {{"m", m_}, {"v", v_}}; }

 private:
  DenseOptimizerConfig config_;
  Buffer buffer_;
  Tensor m_, v_;
};

}  // namespace engram
