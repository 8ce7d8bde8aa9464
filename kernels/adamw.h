#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

struct AdamWOptions {
  double learning_rate = 0;  // its peak; the schedule's factor is in `control`
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-20;
  double weight_decay = 0.1;
};

// One AdamW step on a flat shard (Loshchilov & Hutter 2019, algorithm 2, arXiv:1711.05101). With apply, grad_scale,
// t = num_updates and lr_ratio of `control`, g = grad_scale * grad and lr = learning_rate * lr_ratio, where apply is
// set
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   weight -= lr * (weight_decay * weight + mhat / (sqrt(vhat) + eps));  rounded = weight
// where mhat = m / (1 - beta1^t) and vhat = v / (1 - beta2^t). Where it is not, every bit stays.
//
//   control       [4]  float64, see update_control.h
//   weight, grad  [n]  float32 or float64, one dtype; weight is updated in place
//   m, v          [n]  that dtype or both bfloat16, updated in place
//   rounded       [n]  bfloat16, or empty: what the model computes with where `weight` is its master copy
//
// Moments in bfloat16 enter the weight before they are rounded, and are rounded stochastically, so that they do not
// stand still where a step moves them by less than half a unit in the last place. The random bits are a hash of t and
// of the element's own grad, m and v: where it lies, and on which rank, changes no bit; elements equal in all round
// alike.
//
// The scalars are combined in double and rounded to the dtype once. Throws Error where a shape or dtype does not fit or
// a beta is outside [0, 1).
void adamw_update(Stream& stream, const AdamWOptions& options, const Tensor& control, const Tensor& weight,
                  const Tensor& grad, const Tensor& m, const Tensor& v, const Tensor& rounded = {});

}  // namespace engram
