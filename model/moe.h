#pragma once

#include <optional>

#include "kernels/expert_permute.h"
#include "model/feed_forward.h"
#include "model/model_config.h"

namespace engram {

// Where a rank's routed experts lie: all of them in the store of the other parameters, or, where ranks share them, its
// own in a store of their own.
struct ExpertPlacement {
  ParameterStore* store = nullptr;  // nullptr: that of the other parameters
  int64_t num_ranks = 1;
  int64_t rank = 0;
};

// Mixture of experts in the DeepSeek manner (arXiv:2412.19437, section 2.1.2): shared experts that see every token, and
// routed experts of which each token uses top_k, weighted by their normalised sigmoid affinities. No token is dropped.
//   y = shared(x) + sum over chosen e of weight_e * expert_e(x)
// The weight enters inside the expert, ahead of its last matrix: that is linear, and the experts' outputs need neither
// be weighted nor kept.
// Where ranks share the experts, rows and weights go to the rank that holds the expert and its outputs come back
// (Context::experts), under the work of the shared experts; all ranks of the group then call forward and backward
// together.
class Moe {
 public:
  struct Saved {
    FeedForward::Saved shared;
    Tensor x, logits;       // [num_tokens, hidden], [num_tokens, num_experts]
    Tensor expert, weight;  // [num_tokens, top_k]
    ExpertPlan plan;
    // Of the num_rows rows that this rank's experts see; with all experts here, those of plan.
    ExpertRoute route;
    ExpertPlan local;
    Tensor local_weight;     // [num_rows] elements
    Tensor sorted, gate_up;  // [num_rows, hidden], [num_rows, 2 expert_hidden]
    Tensor h;                // [num_rows, expert_hidden], with the weights
  };
  // mixture: its place among the mixtures of the model, and so in Context::loads.
  Moe(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t mixture,
      const ExpertPlacement& placement);

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward(Context& ctx, const Tensor& dy, const Saved& saved) const;

 private:
  // Rows on their way to the ranks that hold their experts.
  struct Dispatch {
    Pending rows = {};
    Tensor arrived = {};
  };

  void route(Context& ctx, const Tensor& x, Saved& saved) const;
  void find_local_rows(Context& ctx, Saved& saved) const;
  Dispatch begin_dispatch(Context& ctx, const Tensor& tokens, const Saved& saved, const Tensor& sorted) const;
  void finish_dispatch(Context& ctx, Dispatch& dispatch, const Saved& saved, const Tensor& sorted) const;
  Tensor combine(Context& ctx, const Tensor& sorted, const Saved& saved) const;
  Tensor combine_weight_grads(Context& ctx, const Tensor& dlocal_weight, const Saved& saved) const;
  void backward_experts(Context& ctx, const Tensor& drows, const Tensor& dweight, const Saved& saved) const;
  void backward_router(Context& ctx, const Tensor& dweight, const Saved& saved, const Tensor& dx, bool add) const;

  MoeConfig config_;
  int64_t mixture_;
  ExpertShard shard_;
  Parameter& router_;
  Parameter& gate_up_;  // [experts here, 2 expert_hidden, hidden]
  Parameter& down_;     // [experts here, hidden, expert_hidden]
  StateArray& bias_;    // [num_experts]: added to the affinity for the choice alone
  std::optional<FeedForward> shared_;
};

}  // namespace engram
