#pragma once

#include "kernels/core/buffer.h"
#include "trainer/optimizer_state.h"
#include "trainer/run_config.h"

namespace engram {

// What the moments of parameters in dtype are kept in: accumulator(dtype), or bfloat16 where the configuration asks.
DType moment_dtype(const DenseOptimizerConfig& config, DType dtype);

// AdamW on this rank's part of the flat parameters; the formula is that of kernels/adamw.h. Where the model computes in
// bfloat16, the part has a master copy in float32, of which the model's values are the rounded ones.
class DenseOptimizer {
 public:
  // dtype: of the model's values. State of zeros for part_size elements, master copy included.
  DenseOptimizer(Stream& stream, const DenseOptimizerConfig& config, DType dtype, int64_t part_size);

  // The weights that are trained and stored [part_size], in accumulator(dtype): the master copy where there is one,
  // else the model's own `values` [part_size].
  const Tensor& weights(const Tensor& values) const { return master_.empty() ? values : master_; }
  // values = the weights, rounded; after somebody else than update() wrote the master copy.
  void publish(Stream& stream, const Tensor& values) const;

  // values, grads [part_size]; control [4] as in kernels/update_control.h. Writes weights and values.
  void update(Stream& stream, const Tensor& control, const Tensor& values, const Tensor& grads) const;

  OptimizerState state() const { return {{"m", m_}, {"v", v_}}; }

 private:
  DenseOptimizerConfig config_;
  Buffer moments_, weights_;
  Tensor m_, v_, master_;
};

}  // namespace engram
