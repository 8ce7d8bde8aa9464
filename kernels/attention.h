#pragma once

#include "kernels/core/stream.h"
#include "kernels/heads.h"

namespace engram {

// Causal scaled dot-product attention with grouped query heads (Vaswani et al. 2017, eq. 1, arXiv:1706.03762; Ainslie
// et al. 2023, arXiv:2305.13245). For each sequence, head h, kv head g = h / (heads / kv_heads) and query i:
//   score[j] = dot(q[i, h], k[j, g]) / sqrt(dim) for j <= i;  lse[h, i] = log sum_j exp(score[j])
//   out[i, h] = sum_j exp(score[j] - lse[h, i]) * v[j, g]
//
//   q, out  [batch, seq, heads, dim]     same dtype; q a slice of heads, as one projection of q, k and v gives it
//   k, v    [batch, seq, kv_heads, dim]  dtype of q, slices; kv_heads divides heads
//   lse     [batch, heads, seq]          accumulator(dtype of q); kept for attention_backward
//
// out must not overlap q, k or v. Throws Error where a shape or dtype does not fit.
void attention_forward(Stream& stream, const HeadSlice& q, const HeadSlice& k, const HeadSlice& v, const Tensor& out,
                       const Tensor& lse);

// Gradients of attention_forward by recomputing the probabilities p from lse (Dao et al. 2022, appendix B,
// arXiv:2205.14135): with dp[i, j] = dot(dout[i], v[j]) and ds = p * (dp - dot(dout[i], out[i])) / sqrt(dim),
//   dq[i] = sum_j ds[i, j] k[j];  dk[j] = sum over i and heads of the group of ds[i, j] q[i]
//   dv[j] = the same sum of p[i, j] dout[i]
//
//   q, k, v, out, lse  as attention_forward read and wrote them
//   dout, dq           [batch, seq, heads, dim]     dq, a slice, is written
//   dk, dv             [batch, seq, kv_heads, dim]  slices, written
//
// No output may overlap an input. The sums have a fixed order.
void attention_backward(Stream& stream, const HeadSlice& q, const HeadSlice& k, const HeadSlice& v, const Tensor& out,
                        const Tensor& lse, const Tensor& dout, const HeadSlice& dq, const HeadSlice& dk,
                        const HeadSlice& dv);

// Device memory that the two ops keep beside their arguments from their first call on, in all but exotic cases at most
// this: in bfloat16 on CUDA the gradients of the scores of some sequences, of their keys and values for each query
// head, and kernels. query_shape [batch, seq, heads, dim]. 0 for other dtypes.
int64_t attention_workspace_bytes(DType dtype, std::array<int64_t, 4> query_shape);

}  // namespace engram
