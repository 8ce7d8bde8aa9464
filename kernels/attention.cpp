#include "kernels/attention.h"

#include "kernels/attention_impl.h"
#include "kernels/core/dispatch.h"

namespace engram {
namespace {

void check_inputs(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse) {
  check_tensor("attention: q", q, q.dtype, {-1, -1, -1, -1});
  const int64_t batch = q.size(0), seq = q.size(1), heads = q.size(2), dim = q.size(3);
  ENGRAM_CHECK(dim > 0, "attention: q has shape ", to_string(q.shape()), "; wanted a last size above 0");
  check_tensor("attention: k", k, q.dtype, {batch, seq, -1, dim});
  const int64_t kv_heads = k.size(2);
  ENGRAM_CHECK(kv_heads > 0 && heads % kv_heads == 0, "attention: ", heads, " query heads over ", kv_heads,
               " key heads; the second must divide the first");
  check_tensor("attention: v", v, q.dtype, {batch, seq, kv_heads, dim});
  check_tensor("attention: out", out, q.dtype, {batch, seq, heads, dim});
  check_tensor("attention: lse", lse, accumulator(q.dtype), {batch, heads, seq});
}

// Half of the square counts: 4 operations for each head element of the scores forward, 2.5 times that backward.
void describe(const Stream& stream, const Tensor& q, double passes) {
  const double scores = static_cast<double>(q.numel()) * static_cast<double>(q.size(1)) / 2;
  describe_op(stream, {q.size(0), q.size(1), q.size(2), q.size(3)}, 4 * scores * passes);
}

}  // namespace

void attention_forward(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                       const Tensor& lse) {
  check_inputs(q, k, v, out, lse);
  describe(stream, q, 1);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("attention", stream, q.dtype, [&]<class T>(auto& queue) {
    run(queue, AttentionForward<T>{.q = view<const T, 4>(q),
                                   .k = view<const T, 4>(k),
                                   .v = view<const T, 4>(v),
                                   .out = view<T, 4>(out),
                                   .lse = view<Accumulator<T>, 3>(lse)});
  });
}

void attention_backward(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                        const Tensor& lse, const Tensor& dout, const Tensor& dq, const Tensor& dk, const Tensor& dv) {
  check_inputs(q, k, v, out, lse);
  const int64_t batch = q.size(0), seq = q.size(1), heads = q.size(2), kv_heads = k.size(2), dim = q.size(3);
  check_tensor("attention: dout", dout, q.dtype, {batch, seq, heads, dim});
  check_tensor("attention: dq", dq, q.dtype, {batch, seq, heads, dim});
  check_tensor("attention: dk", dk, q.dtype, {batch, seq, kv_heads, dim});
  check_tensor("attention: dv", dv, q.dtype, {batch, seq, kv_heads, dim});
  describe(stream, q, 2.5);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("attention", stream, q.dtype, [&]<class T>(auto& queue) {
    run(queue, AttentionBackward<T>{.q = view<const T, 4>(q),
                                    .k = view<const T, 4>(k),
                                    .v = view<const T, 4>(v),
                                    .out = view<const T, 4>(out),
                                    .lse = view<const Accumulator<T>, 3>(lse),
                                    .dout = view<const T, 4>(dout),
                                    .dq = view<T, 4>(dq),
                                    .dk = view<T, 4>(dk),
                                    .dv = view<T, 4>(dv)});
  });
}

}  // namespace engram
