#include "kernels/engram_gate.h"

#include "kernels/core/dispatch.h"
#include "kernels/engram_gate_impl.h"

namespace engram {
namespace {

void check(const Tensor& h, const Tensor& kv, const Tensor& gain_q, const Tensor& gain_k, const Tensor& dead,
           const EngramGateSaved& saved) {
  check_tensor("engram_gate: h", h, h.dtype, {-1, -1, -1});
  const int64_t num_rows = h.size(0), streams = h.size(1), width = h.size(2);
  check_tensor("engram_gate: kv", kv, h.dtype, {num_rows, (streams + 1) * width});
  check_tensor("engram_gate: gain_q", gain_q, h.dtype, {streams, width});
  check_tensor("engram_gate: gain_k", gain_k, h.dtype, {streams, width});
  if (!dead.empty()) check_tensor("engram_gate: dead", dead, DType::kUInt8, {num_rows});
  check_tensor("engram_gate: score", saved.score, accumulator(h.dtype), {num_rows, streams});
  check_tensor("engram_gate: alpha", saved.alpha, accumulator(h.dtype), {num_rows, streams});
  check_tensor("engram_gate: inv_rms_q", saved.inv_rms_q, accumulator(h.dtype), {num_rows, streams});
  check_tensor("engram_gate: inv_rms_k", saved.inv_rms_k, accumulator(h.dtype), {num_rows, streams});
}

}  // namespace

void engram_gate_forward(Stream& stream, const Tensor& h, const Tensor& kv, const Tensor& gain_q, const Tensor& gain_k,
                         const Tensor& dead, const EngramGateOptions& options, const Tensor& gated,
                         const EngramGateSaved& saved) {
  check(h, kv, gain_q, gain_k, dead, saved);
  check_tensor("engram_gate: gated", gated, h.dtype, {h.size(0), h.size(1), h.size(2)});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "engram_gate", stream, h.dtype, [&]<class T>(auto& queue) {
        using Acc = Accumulator<T>;
        run(queue, EngramGateForward<T>{.h = view<const T, 3>(h),
                                        .kv = view<const T, 2>(kv),
                                        .gain_q = view<const T, 2>(gain_q),
                                        .gain_k = view<const T, 2>(gain_k),
                                        .dead = optional_view<const uint8_t, 1>(dead),
                                        .form = options.form,
                                        .sign = options.sign,
                                        .eps = static_cast<Acc>(options.eps),
                                        .gated = view<T, 3>(gated),
                                        .score = view<Acc, 2>(saved.score),
                                        .alpha = view<Acc, 2>(saved.alpha),
                                        .inv_rms_q = view<Acc, 2>(saved.inv_rms_q),
                                        .inv_rms_k = view<Acc, 2>(saved.inv_rms_k)});
      });
}

void engram_gate_backward(Stream& stream, const Tensor& h, const Tensor& kv, const Tensor& gain_q, const Tensor& gain_k,
                          const Tensor& dead, const EngramGateOptions& options, const EngramGateSaved& saved,
                          const Tensor& dgated, const Tensor& dpast, const EngramGateGradients& gradients) {
  check(h, kv, gain_q, gain_k, dead, saved);
  const int64_t num_rows = h.size(0), streams = h.size(1), width = h.size(2);
  check_tensor("engram_gate: dgated", dgated, h.dtype, {num_rows, streams, width});
  if (!dpast.empty()) check_tensor("engram_gate: dpast", dpast, h.dtype, {num_rows, streams, width});
  check_tensor("engram_gate: dh", gradients.dh, h.dtype, {num_rows, streams, width});
  check_tensor("engram_gate: dkv", gradients.dkv, h.dtype, {num_rows, (streams + 1) * width});
  check_tensor("engram_gate: dgain_q", gradients.dgain_q, accumulator(h.dtype), {streams, width});
  check_tensor("engram_gate: dgain_k", gradients.dgain_k, accumulator(h.dtype), {streams, width});
  dispatch<Cpu<float, double>, Cuda<bfloat16, float, double>>(
      "engram_gate", stream, h.dtype, [&]<class T>(auto& queue) {
        using Acc = Accumulator<T>;
        run(queue, EngramGateBackward<T>{.h = view<const T, 3>(h),
                                         .kv = view<const T, 2>(kv),
                                         .gain_q = view<const T, 2>(gain_q),
                                         .gain_k = view<const T, 2>(gain_k),
                                         .dead = optional_view<const uint8_t, 1>(dead),
                                         .form = options.form,
                                         .score = view<const Acc, 2>(saved.score),
                                         .alpha = view<const Acc, 2>(saved.alpha),
                                         .inv_rms_q = view<const Acc, 2>(saved.inv_rms_q),
                                         .inv_rms_k = view<const Acc, 2>(saved.inv_rms_k),
                                         .dgated = view<const T, 3>(dgated),
                                         .dpast = optional_view<const T, 3>(dpast),
                                         .dh = view<T, 3>(gradients.dh),
                                         .dkv = view<T, 2>(gradients.dkv),
                                         .dgain_q = view<Acc, 2>(gradients.dgain_q),
                                         .dgain_k = view<Acc, 2>(gradients.dgain_k)});
      });
}

}  // namespace engram
