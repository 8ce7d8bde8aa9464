#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace engram {

enum class GateForm : uint8_t {
  kSignedSqrt,  // u = sgn(s) * sqrt(max(|s|, 1e-6)): Engram demo, DeepSeek-V4.1
  kPlain,       // u = s: the equations of arXiv:2601.07372
};

// sgn(0) of kSignedSqrt: 0 (training), or the sign bit of the zero, +-1 (DeepSeek-V4.1 inference).
enum class GateSign : uint8_t { kSign, kCopySign };

struct EngramGateOptions {
  GateForm form = GateForm::kSignedSqrt;
  GateSign sign = GateSign::kSign;
  double eps = 1e-6;  // of both norms, in units of x^2
};

// What backward needs of forward besides the inputs: [num_rows, streams] each, accumulator dtype. 0 in dead rows.
struct EngramGateSaved {
  Tensor score;      // s
  Tensor alpha;      // sigmoid(u)
  Tensor inv_rms_q;  // rsqrt(mean(h^2) + eps)
  Tensor inv_rms_k;  // rsqrt(mean(key^2) + eps)
};

// Gates one value per token into each residual stream m (row index left out):
//   s_m = <h_m * rq_m * gain_q_m, key_m * rk_m * gain_k_m> / sqrt(width),  rq, rk = inverse root mean squares;
//   u_m = signed square root of s_m, or s_m;  alpha_m = sigmoid(u_m);  gated_m = alpha_m * value.
//
//   h               [num_rows, streams, width]
//   kv              [num_rows, (streams + 1) * width]  a key per stream, in stream order, then the value
//   gain_q, gain_k  [streams, width]
//   dead            [num_rows] uint8, optional: rows with 1 give gated = 0, and their kv is not read
//   gated           [num_rows, streams, width]  written
//
// All of h's dtype but dead and saved. Throws Error where a shape or dtype does not fit.
void engram_gate_forward(Stream& stream, const Tensor& h, const Tensor& kv, const Tensor& gain_q, const Tensor& gain_k,
                         const Tensor& dead, const EngramGateOptions& options, const Tensor& gated,
                         const EngramGateSaved& saved);

struct EngramGateGradients {
  Tensor dh;       // [num_rows, streams, width], written; may be dgated or dpast
  Tensor dkv;      // [num_rows, (streams + 1) * width], written; 0 in dead rows
  Tensor dgain_q;  // [streams, width], accumulator dtype, added to
  Tensor dgain_k;  // [streams, width], accumulator dtype, added to
};

// With g = dgated: dalpha_m = <g_m, value>; dvalue = sum_m alpha_m * g_m; ds_m = dalpha_m * alpha_m * (1 - alpha_m) *
// u', u' = 1 / (2 sqrt|s|) where |s| > 1e-6 and 0 inside the clamp (1 in the plain form); then both norms, as in
// rms_norm_backward.
//
//   dgated  [num_rows, streams, width]
//   dpast   [num_rows, streams, width]  gradient that reaches h past the gate, added to dh bit for bit in dead rows;
//                                       may be empty
void engram_gate_backward(Stream& stream, const Tensor& h, const Tensor& kv, const Tensor& gain_q, const Tensor& gain_k,
                          const Tensor& dead, const EngramGateOptions& options, const EngramGateSaved& saved,
                          const Tensor& dgated, const Tensor& dpast, const EngramGateGradients& gradients);

}  // namespace engram
