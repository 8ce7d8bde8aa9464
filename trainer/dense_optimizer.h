#pragma once

#include "kernels/core/buffer.h"
#include "trainer/optimizer_state.h"
#include "trainer/run_config.h"

namespace engram {

// AdamW on this rank's part of the flat parameters; the formula is that of kernels/adamw.h.
class DenseOptimizer {
 public:
  struct Update {
    double lr = 0;
    double grad_scale = 1;  // clip factor
    int64_t step = 1;       // number of this applied update, from 1
  };
  // State of zeros for part_size elements.
  DenseOptimizer(Stream& stream, const DenseOptimizerConfig& config, DType dtype, int64_t part_size);

  // values, grads [part_size].
  void update(Stream& stream, const Update& update, const Tensor& values, const Tensor& grads) const;

  OptimizerState state() const { return {{"m", m_}, {"v", v_}}; }

 private:
  DenseOptimizerConfig config_;
  Buffer buffer_;
  Tensor m_, v_;
};

}  // namespace engram
