#include "model/moe.h"

#include "kernels/core/device.h"
#include "kernels/expert_matmul.h"
#include "kernels/matmul.h"
#include "kernels/router.h"
#include "kernels/swiglu.h"

namespace engram {
namespace {

std::optional<FeedForward> shared_experts(ParameterStore& store, const std::string& name, const ModelConfig& config) {
  if (config.moe.num_shared_experts == 0) return std::nullopt;
  return FeedForward(store, name + ".shared",
                     {.hidden = config.hidden,
                      .width = config.moe.shared_width(),
                      .init_std = config.init_std,
                      .residual_init_std = config.residual_init_std()});
}

}  // namespace

Moe::Moe(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t mixture)
    : config_(config.moe),
      mixture_(mixture),
      router_(store.add(name + ".router.weight", ParameterKind::kRouter, {config.moe.num_experts, config.hidden},
                        config.init_std)),
      gate_up_(store.add(name + ".experts.gate_up.weight", ParameterKind::kExpertMatrix,
                         {config.moe.num_experts, 2 * config.moe.expert_hidden, config.hidden}, config.init_std)),
      down_(store.add(name + ".experts.down.weight", ParameterKind::kExpertMatrix,
                      {config.moe.num_experts, config.hidden, config.moe.expert_hidden}, config.residual_init_std())),
      bias_(store.add_state(name + ".router.bias", accumulator(store.dtype()), {config.moe.num_experts})),
      shared_(shared_experts(store, name, config)) {}

// Chooses the experts of every token and sorts the (token, choice) pairs by expert.
void Moe::route(Context& ctx, const Tensor& x, Saved& saved) const {
  const int64_t num_tokens = x.size(0), num_experts = config_.num_experts, num_rows = num_tokens * config_.top_k;
  const DType wide = accumulator(x.dtype);
  saved.x = x;
  saved.logits = ctx.arena.take("moe.logits", wide, {num_tokens, num_experts});
  saved.expert = ctx.arena.take("moe.expert", DType::kInt32, {num_tokens, config_.top_k});
  saved.weight = ctx.arena.take("moe.weight", wide, {num_tokens, config_.top_k});
  saved.plan = {.offsets = ctx.arena.take("moe.offsets", DType::kInt64, {num_experts + 1}),
                .slot = ctx.arena.take("moe.slot", DType::kInt64, {num_tokens, config_.top_k}),
                .choice = ctx.arena.take("moe.choice", DType::kInt64, {num_rows})};
  const Tensor load = ctx.count_statistics ? ctx.loads.rows(mixture_, 1).reshape({num_experts})
                                           : ctx.arena.take("moe.load", DType::kInt64, {num_experts});
  if (!ctx.count_statistics) zero(ctx.stream, load);

  matmul(ctx.stream, x, router_.value, saved.logits, {.transpose_b = true});
  router_forward(ctx.stream, saved.logits, bias_.value, {.top_k = config_.top_k, .scale = config_.route_scale},
                 saved.expert, saved.weight, load);
  expert_permute_plan(ctx.stream, saved.expert, saved.plan);
}

Tensor Moe::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const int64_t num_rows = x.size(0) * config_.top_k, hidden = x.size(1), width = config_.expert_hidden;
  route(ctx, x, saved);
  saved.sorted = ctx.arena.take("moe.sorted", x.dtype, {num_rows, hidden});
  saved.gate_up = ctx.arena.take("moe.gate_up", x.dtype, {num_rows, 2 * width});
  saved.h = ctx.arena.take("moe.h", x.dtype, {num_rows, width});
  permute(ctx.stream, x, saved.plan.slot, saved.sorted);
  expert_matmul_forward(ctx.stream, saved.sorted, gate_up_.value, saved.plan.offsets, saved.gate_up);
  weighted_swiglu_forward(ctx.stream, saved.gate_up, saved.weight, saved.plan.choice, saved.h);

  const Tensor y =
      shared_ ? shared_->forward(ctx, x, saved.shared) : ctx.arena.take("moe.y", x.dtype, {x.size(0), hidden});
  Arena::Scope scope(ctx.arena);
  const Tensor routed = ctx.arena.take("moe.routed", x.dtype, {num_rows, hidden});
  expert_matmul_forward(ctx.stream, saved.h, down_.value, saved.plan.offsets, routed);
  unpermute(ctx.stream, routed, saved.plan.slot, shared_ ? y : Tensor{}, y);
  return y;
}

// Gradient of the rows in the experts' order, from that of what the experts give; in the same memory. Also writes the
// weights' gradient.
void Moe::backward_experts(Context& ctx, const Tensor& drows, const Tensor& dweight, const Saved& saved) const {
  Arena::Scope scope(ctx.arena);
  const Tensor dh = ctx.arena.take("moe.dh", drows.dtype, {saved.h.size(0), saved.h.size(1)});
  expert_matmul_backward_weight(ctx.stream, drows, saved.h, saved.plan.offsets, down_.grad);
  expert_matmul_backward_input(ctx.stream, drows, down_.value, saved.plan.offsets, dh);
  const Tensor dgate_up = ctx.arena.take("moe.dgate_up", drows.dtype, {saved.gate_up.size(0), saved.gate_up.size(1)});
  weighted_swiglu_backward(ctx.stream, saved.gate_up, saved.weight, saved.plan.choice, dh, dgate_up, dweight);
  expert_matmul_backward_weight(ctx.stream, dgate_up, saved.sorted, saved.plan.offsets, gate_up_.grad);
  expert_matmul_backward_input(ctx.stream, dgate_up, gate_up_.value, saved.plan.offsets, drows);
}

// Adds the gradient of x by way of the router to dx, or writes it.
void Moe::backward_router(Context& ctx, const Tensor& dweight, const Saved& saved, const Tensor& dx, bool add) const {
  Arena::Scope scope(ctx.arena);
  const Tensor dlogits = ctx.arena.take("moe.dlogits", dx.dtype, {dx.size(0), config_.num_experts});
  router_backward(ctx.stream, saved.logits, saved.expert, dweight,
                  {.top_k = config_.top_k, .scale = config_.route_scale}, dlogits);
  matmul(ctx.stream, dlogits, saved.x, router_.grad, {.transpose_a = true, .accumulate = true});
  matmul(ctx.stream, dlogits, router_.value, dx, {.accumulate = add});
}

Tensor Moe::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  const Tensor& x = saved.x;
  const Tensor drows = ctx.arena.take("moe.drows", x.dtype, {saved.sorted.size(0), saved.sorted.size(1)});
  const Tensor dweight = ctx.arena.take("moe.dweight", saved.weight.dtype, {x.size(0), config_.top_k});
  permute(ctx.stream, dy, saved.plan.slot, drows);
  backward_experts(ctx, drows, dweight, saved);

  const Tensor dx =
      shared_ ? shared_->backward(ctx, dy, saved.shared) : ctx.arena.take("moe.dx", x.dtype, {x.size(0), x.size(1)});
  backward_router(ctx, dweight, saved, dx, shared_.has_value());
  unpermute(ctx.stream, drows, saved.plan.slot, dx, dx);
  return dx;
}

}  // namespace engram
