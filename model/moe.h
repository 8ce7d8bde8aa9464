#pragma once

#include <optional>

#include "kernels/expert_permute.h"
#include "model/feed_forward.h"
#include "model/model_config.h"

namespace engram {

// Mixture of experts in the DeepSeek manner (arXiv:2412.19437, section 2.1.2): shared experts that see every token, and
// routed experts of which each token uses top_k, weighted by their normalised sigmoid affinities. No token is dropped.
//   y = shared(x) + sum over chosen e of weight_e * expert_e(x)
// The weight enters inside the expert, ahead of its last matrix: that is linear, and the experts' outputs need neither
// be weighted nor kept.
class Moe {
 public:
  struct Saved {
    FeedForward::Saved shared;
    Tensor x, logits;       // [num_tokens, hidden], [num_tokens, num_experts]
    Tensor expert, weight;  // [num_tokens, top_k]
    ExpertPlan plan;
    Tensor sorted, gate_up;  // [num_tokens * top_k, hidden], [.., 2 expert_hidden]
    Tensor h;                // [num_tokens * top_k, expert_hidden], with the weights
  };
  // mixture: its place among the mixtures of the model, and so in Context::loads.
  Moe(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t mixture);

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  void route(Context& ctx, const Tensor& x, Saved& saved) const;
  void backward_experts(Context& ctx, const Tensor& drows, const Tensor& dweight, const Saved& saved) const;
  void backward_router(Context& ctx, const Tensor& dweight, const Saved& saved, const Tensor& dx, bool add) const;

  MoeConfig config_;
  int64_t mixture_;
  Parameter& router_;
  Parameter& gate_up_;  // [num_experts, 2 expert_hidden, hidden]
  Parameter& down_;     // [num_experts, hidden, expert_hidden]
  StateArray& bias_;    // [num_experts]: added to the affinity for the choice alone
  std::optional<FeedForward> shared_;
};

}  // namespace engram
