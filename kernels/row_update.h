#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

// Optimizer steps of a table held as [num_slots, width], in place. In all of them:
//
//   control      [4] float64   see update_control.h; where its apply is not set, every bit stays
//   slots        [m] int64     touched rows, each at most once, in any order
//   grad         [m, width]    their gradients, summed over all occurrences; accumulator dtype of the weight
//   weight       [num_slots, width]
//
// The gradient used is G = grad * grad_scale of control, the rate is lr * lr_ratio of control. A touched row counts as
// touched even where its gradient is 0. Weight decay is not part of these rules. Where no sum of a step cancels, every
// float32 element is within 4 units of its last place of the same step in double; CPU and CUDA round in different
// places, so that their bits may differ. Throws Error where a shape or dtype does not fit. Source of the rules: Kingma
// & Ba 2015 (arXiv:1412.6980); Duchi et al. 2011 for Adagrad.

// weight -= lr * G for the touched rows; the others keep their bits.
void row_update_sgd(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad, double lr,
                    const Tensor& weight);

struct RowAdamOptions {
  double lr = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-20;  // added outside the root, after the bias correction
};

struct RowAdamState {
  Tensor m;  // [num_slots, width] accumulator dtype of the weight
  Tensor v;  // [num_slots, width] accumulator dtype of the weight
};

// Adam with its own step count for each row: of a touched row
//   N += 1;  m = beta1 m + (1 - beta1) G;  v = beta2 v + (1 - beta2) G^2;
//   weight -= lr * (m / (1 - beta1^N)) / (sqrt(v / (1 - beta2^N)) + eps).
// An untouched row keeps every bit of its weight and state: this is not textbook Adam.
//
//   count  [num_slots] int32, N; stays at its largest value once there
void row_update_adam_lazy(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                          const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state,
                          const Tensor& count);

// Textbook Adam over every row; the gradient of an untouched row is 0, so it keeps moving. N of every row is the
// num_updates of control.
void row_update_adam_dense(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                           const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state);

// As row_update_adam_lazy, with one second moment for the whole row: v = beta2 v + (1 - beta2) mean_c(G_c^2).
//
//   state.v  [num_slots] accumulator dtype of the weight
void row_update_rowwise_adam(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                             const RowAdamOptions& options, const Tensor& weight, const RowAdamState& state,
                             const Tensor& count);

struct RowAdagradOptions {
  double lr = 0;
  double eps = 1e-20;  // added outside the root
};

// Adagrad with one sum for the whole row: of a touched row
//   s += mean_c(G_c^2);  weight -= lr * G / (sqrt(s) + eps).
// An untouched row keeps every bit, as it would in an update of all rows.
//
//   s  [num_slots] accumulator dtype of the weight
void row_update_rowwise_adagrad(Stream& stream, const Tensor& control, const Tensor& slots, const Tensor& grad,
                                const RowAdagradOptions& options, const Tensor& weight, const Tensor& s);

}  // namespace engram
