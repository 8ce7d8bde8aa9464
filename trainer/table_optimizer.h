#pragma once

#include <span>
#include <vector>

#include "kernels/core/buffer.h"
#include "trainer/optimizer_state.h"
#include "trainer/run_config.h"

namespace engram {

// The optimizer of this rank's table rows, by TableOptimizerConfig::kind; formulas in kernels/row_update.h. State lies
// beside the rows: arrays of an element each [num_slots, width] and of a scalar for each row [num_slots]. No weight
// decay.
class TableOptimizer {
 public:
  // weight [num_slots, width]; num_threads clear the state, more than one only on the host.
  TableOptimizer(Stream& stream, const OptimizerConfig& config, const Tensor& weight, int num_threads = 1);

  // slots [m] int64, distinct; grads [m, width]: each row's gradient, summed over the global batch; control [4] as in
  // kernels/update_control.h.
  void update(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grads) const {
    update(stream, control, slots, grads, arrays());
  }
  // The same of rows that lie elsewhere: `arrays` in the order of arrays(), and slots of these.
  void update(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grads,
              std::span<const Tensor> arrays) const;

  // The weight, and then the state.
  std::vector<Tensor> arrays() const;

  const OptimizerState& state() const { return state_; }

 private:
  TableOptimizerConfig config_;
  double lr_;  // peak
  Tensor weight_;
  Buffer buffer_;
  OptimizerState state_;
};

// Bytes of state per row, for estimates.
int64_t table_state_bytes_per_row(TableOptimizerKind kind, int64_t width, DType dtype);

}  // namespace engram
