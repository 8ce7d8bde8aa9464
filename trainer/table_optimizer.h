#pragma once

#include "kernels/core/buffer.h"
#include "trainer/optimizer_state.h"
#include "trainer/run_config.h"

namespace engram {

// The optimizer of this rank's table rows, by TableOptimizerConfig::kind; formulas in kernels/row_update.h. State lies
// beside the rows: element arrays [num_slots, width] and, for adam_lazy, each row's own count [num_slots]. No weight
// decay.
class TableOptimizer {
 public:
  struct Update {
    double lr = 0;          // with lr_mult in it
    double grad_scale = 1;  // clip factor
    int64_t step = 1;       // number of this applied update, from 1
  };
  // weight [num_slots, width].
  TableOptimizer(Stream& stream, const TableOptimizerConfig& config, const Tensor& weight);

  // slots [m] int64, distinct; grads [m, width]: each row's gradient, summed over the global batch.
  void update(Stream& stream, const Update& update, const Tensor& slots, const Tensor& grads) const;

  const OptimizerState& state() const { return state_; }

 private:
  TableOptimizerConfig config_;
  Tensor weight_;
  Buffer buffer_;
  OptimizerState state_;
};

// Bytes of state per row, for estimates.
int64_t table_state_bytes_per_row(TableOptimizerKind kind, int64_t width, DType dtype);

}  // namespace engram
