#pragma once

#include "kernels/rope.h"
#include "model/linear.h"
#include "model/model_config.h"

namespace engram {

// Causal grouped-query attention with rotary positions and, where the configuration says so, an RMSNorm on every query
// and key head before the rotation:
//   y = concat_h(softmax(q_h k_g^T / sqrt(head_dim)) v_g) W_out^T, with q, k and v from one projection of x: rows of
// its weight are the query heads, then the key heads, then the value heads.
class Attention {
 public:
  struct Saved {
    Linear::Saved in, out;
    Tensor qkv;  // [num_sequences, seq_len, heads + 2 kv_heads, head_dim]; as projected, or queries and keys turned
    Tensor qk;   // [num_sequences, seq_len, heads + kv_heads, head_dim]; normed and turned; qkv without a norm
    Tensor attended, lse;  // [num_sequences, seq_len, heads, head_dim], [num_sequences, heads, seq_len]
  };
  Attention(ParameterStore& store, const std::string& name, const ModelConfig& config);

  // x, y [num_tokens, hidden].
  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  QkNorm norm() const;
  HeadSlice queries(const Tensor& packed) const { return {packed, 0, num_heads_}; }
  HeadSlice keys(const Tensor& packed) const { return {packed, num_heads_, num_kv_heads_}; }
  HeadSlice queries_and_keys(const Tensor& packed) const { return {packed, 0, num_heads_ + num_kv_heads_}; }
  HeadSlice values(const Tensor& packed) const { return {packed, num_heads_ + num_kv_heads_, num_kv_heads_}; }

  int64_t num_heads_, num_kv_heads_, head_dim_;
  double norm_eps_;
  Linear qkv_, out_;
  Parameter *query_gain_, *key_gain_;  // nullptr without a norm
};

}  // namespace engram
