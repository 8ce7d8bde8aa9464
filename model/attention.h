#pragma once

#include <optional>

#include "model/linear.h"
#include "model/model_config.h"
#include "model/rms_norm.h"

namespace engram {

// Causal grouped-query attention with rotary positions and, where the configuration says so, an RMSNorm on every query
// and key head before the rotation:
//   y = concat_h(softmax(q_h k_g^T / sqrt(head_dim)) v_g) W_out^T.
class Attention {
 public:
  struct Saved {
    Linear::Saved in;  // one input for q, k and v
    Linear::Saved out;
    RmsNorm::Saved q_norm, k_norm;
    Tensor q, k, v;        // [num_sequences, seq_len, heads or kv_heads, head_dim], rotated
    Tensor attended, lse;  // [num_sequences, seq_len, heads, head_dim], [num_sequences, heads, seq_len]
  };
  Attention(ParameterStore& store, const std::string& name, const ModelConfig& config);

  // x, y [num_tokens, hidden].
  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  Tensor project(Context& ctx, const Linear& linear, const std::optional<RmsNorm>& norm, RmsNorm::Saved& norm_saved,
                 Linear::Saved& saved) const;

  int64_t num_heads_, num_kv_heads_, head_dim_;
  Linear query_, key_, value_, out_;
  std::optional<RmsNorm> query_norm_, key_norm_;
};

}  // namespace engram
