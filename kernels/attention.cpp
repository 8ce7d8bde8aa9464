#include "kernels/attention.h"

#include "kernels/attention_impl.h"
#include "kernels/core/dispatch.h"

namespace engram {
namespace {

void check_inputs(const HeadSlice& q, const HeadSlice& k, const HeadSlice& v, const Tensor& out, const Tensor& lse) {
  const DType dtype = q.packed.dtype;
  check_heads("attention: q", q, dtype, {-1, -1, -1, -1});
  const auto [batch, seq, heads, dim] = q.shape();
  ENGRAM_CHECK(dim > 0, "attention: q has shape ", to_string(q.shape()), "; wanted a last size above 0");
  check_heads("attention: k", k, dtype, {batch, seq, -1, dim});
  ENGRAM_CHECK(k.count > 0 && heads % k.count == 0, "attention: ", heads, " query heads over ", k.count,
               " key heads; the second must divide the first");
  check_heads("attention: v", v, dtype, {batch, seq, k.count, dim});
  check_tensor("attention: out", out, dtype, {batch, seq, heads, dim});
  check_tensor("attention: lse", lse, accumulator(dtype), {batch, heads, seq});
}

// Half of the square counts: 4 operations for each head element of the scores forward, 2.5 times that backward.
void describe(const Stream& stream, const Tensor& out, double passes) {
  const double scores = static_cast<double>(out.numel()) * static_cast<double>(out.size(1)) / 2;
  describe_op(stream, {out.size(0), out.size(1), out.size(2), out.size(3)}, 4 * scores * passes);
}

}  // namespace

void attention_forward(Stream& stream, const HeadSlice& q, const HeadSlice& k, const HeadSlice& v, const Tensor& out,
                       const Tensor& lse) {
  check_inputs(q, k, v, out, lse);
  describe(stream, out, 1);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("attention", stream, out.dtype, [&]<class T>(auto& queue) {
    run(queue, AttentionForward<T>{.q = heads_view<const T>(q),
                                   .k = heads_view<const T>(k),
                                   .v = heads_view<const T>(v),
                                   .out = heads_view<T>(out),
                                   .lse = view<Accumulator<T>, 3>(lse)});
  });
}

void attention_backward(Stream& stream, const HeadSlice& q, const HeadSlice& k, const HeadSlice& v, const Tensor& out,
                        const Tensor& lse, const Tensor& dout, const HeadSlice& dq, const HeadSlice& dk,
                        const HeadSlice& dv) {
  check_inputs(q, k, v, out, lse);
  const auto query_shape = q.shape(), key_shape = k.shape();
  check_heads("attention: dout", dout, out.dtype, query_shape);
  check_heads("attention: dq", dq, out.dtype, query_shape);
  check_heads("attention: dk", dk, out.dtype, key_shape);
  check_heads("attention: dv", dv, out.dtype, key_shape);
  describe(stream, out, 2.5);
  dispatch<Cpu<float, double>, Cuda<bfloat16, float>>("attention", stream, out.dtype, [&]<class T>(auto& queue) {
    run(queue, AttentionBackward<T>{.q = heads_view<const T>(q),
                                    .k = heads_view<const T>(k),
                                    .v = heads_view<const T>(v),
                                    .out = heads_view<const T>(out),
                                    .lse = view<const Accumulator<T>, 3>(lse),
                                    .dout = heads_view<const T>(dout),
                                    .dq = heads_view<T>(dq),
                                    .dk = heads_view<T>(dk),
                                    .dv = heads_view<T>(dv)});
  });
}

int64_t attention_workspace_bytes(DType dtype, std::array<int64_t, 4> query_shape) {
  const auto [batch, seq, heads, dim] = query_shape;
  if (dtype != DType::kBFloat16 || batch * seq * heads == 0) return 0;
  constexpr int64_t kTile = 128, kKernels = int64_t{16} << 20;
  const int64_t padded = (seq + kTile - 1) / kTile * kTile, score_bytes = heads * padded * padded * size_of(dtype);
  const int64_t of_keys = 2 * heads * padded * dim * size_of(dtype),
                of_rows = 2 * heads * padded * size_of(DType::kFloat32);
  return attention_sequences_per_call(batch, score_bytes) * (score_bytes + of_keys + of_rows) + kKernels;
}

}  // namespace engram
