#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

struct AdamWOptions {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-20;
  double weight_decay = 0.1;
  double grad_scale = 1;  // what the gradient is multiplied by first: normaliser and clip factor
  int64_t step = 1;       // number of this update, from 1: the power in the bias correction
};

// One AdamW step on a flat shard (Loshchilov & Hutter 2019, algorithm 2, arXiv:1711.05101). With g = grad_scale * grad:
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   weight -= learning_rate * (weight_decay * weight + mhat / (sqrt(vhat) + eps))
// where mhat = m / (1 - beta1^step) and vhat = v / (1 - beta2^step).
//
//   weight, grad, m, v  [n]  float32 or float64, one dtype; all but grad are updated in place
//
// The scalars are combined in double and rounded to the dtype once. Throws Error where a shape or dtype does not fit,
// step < 1 or a beta is outside [0, 1).
void adamw_update(Stream& stream, const AdamWOptions& options, const Tensor& weight, const Tensor& grad,
                  const Tensor& m, const Tensor& v);

}  // namespace engram
