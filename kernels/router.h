#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

struct RouterOptions {
  int64_t top_k = 1;   // experts that each token goes to, at most num_experts
  double scale = 1.0;  // factor of the normalised weights
};

// Chooses experts by sigmoid affinity and a balancing bias. With s = sigmoid(logits[r, :]):
//   expert[r, :] = the top_k experts of largest s + bias, largest first, at a tie the lower number first;
//   weight[r, i] = scale * s[expert[r, i]] / (sum over the chosen of s + 1e-20);  load[e] += rows that chose e.
// The bias acts on the choice alone. Expert numbers are distinct and in range even where logits are NaN.
//
//   logits  [num_rows, num_experts]  accumulator dtype of the model
//   bias    [num_experts]            dtype of logits
//   expert  [num_rows, top_k]        int32, written
//   weight  [num_rows, top_k]        dtype of logits, written
//   load    [num_experts]            int64, added to
//
// Throws Error where a shape or dtype does not fit or top_k is outside [1, num_experts]. Source: DeepSeek-V3
// (arXiv:2412.19437), eq. 13-16.
void router_forward(Stream& stream, const Tensor& logits, const Tensor& bias, const RouterOptions& options,
                    const Tensor& expert, const Tensor& weight, const Tensor& load);

// Gradient of the weights with respect to the logits; the choice is held fixed.
//
//   expert   [num_rows, top_k]        as router_forward wrote it
//   dweight  [num_rows, top_k]        dtype of logits
//   dlogits  [num_rows, num_experts]  the model's dtype, of which logits have the accumulator; written, 0 for experts
//                                     that were not chosen; may not be logits
void router_backward(Stream& stream, const Tensor& logits, const Tensor& expert, const Tensor& dweight,
                     const RouterOptions& options, const Tensor& dlogits);

// bias[l, e] += rate * sign(mean(load[l]) - load[l, e]), sign(0) = 0, for all layers l: balance without an auxiliary
// loss. Where apply of control is not set, every bit stays.
//
//   control  [4]                        float64, see update_control.h
//   load     [num_layers, num_experts]  int64, tokens per expert over the global batch
//   bias     [num_layers, num_experts]  float32 or float64
//
// Source: Wang et al. 2024 (arXiv:2408.15664), algorithm 1.
void router_update_bias(Stream& stream, const Tensor& control, const Tensor& load, double rate, const Tensor& bias);

}  // namespace engram
