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

// A matrix [out, in] for each expert of this rank.
Parameter& expert_matrix(ParameterStore& store, const std::string& name, const ExpertShard& shard,
                         std::pair<int64_t, int64_t> shape, double deviation) {
  const auto [out, in] = shape;
  Parameter& parameter = store.add(name, {shard.count(), out, in}, deviation);
  parameter.first = shard.first() * out * in;
  return parameter;
}

// The same elements, one a row.
Tensor column(const Tensor& tensor) { return tensor.reshape({tensor.numel(), 1}); }

}  // namespace

Moe::Moe(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t mixture,
         const ExpertPlacement& placement)
    : config_(config.moe),
      mixture_(mixture),
      shard_{.num_experts = config.moe.num_experts, .num_ranks = placement.num_ranks, .rank = placement.rank},
      router_(store.add(name + ".router.weight", {config.moe.num_experts, config.hidden}, config.init_std)),
      gate_up_(expert_matrix(placement.store ? *placement.store : store, name + ".experts.gate_up.weight", shard_,
                             {2 * config.moe.expert_hidden, config.hidden}, config.init_std)),
      down_(expert_matrix(placement.store ? *placement.store : store, name + ".experts.down.weight", shard_,
                          {config.hidden, config.moe.expert_hidden}, config.residual_init_std())),
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

// Which rows come to this rank's experts, with which weights, and where they stand sorted by expert.
void Moe::find_local_rows(Context& ctx, Saved& saved) const {
  const int64_t num_rows = saved.expert.numel();
  saved.local = saved.plan;
  saved.local_weight = saved.weight;
  if (shard_.num_ranks == 1) return;

  saved.route = ctx.experts->route(ctx.stream, saved.plan.offsets, num_rows);
  const int64_t num_local = saved.route.num_received;
  saved.local_weight = ctx.arena.take("moe.local_weight", saved.weight.dtype, {num_local, 1});
  const Tensor offsets = ctx.arena.take("moe.local_offsets", DType::kInt64, {shard_.num_experts + 1});
  saved.local = {.offsets = offsets,
                 .slot = ctx.arena.take("moe.local_slot", DType::kInt64, {num_local, 1}),
                 .choice = ctx.arena.take("moe.local_choice", DType::kInt64, {num_local})};
  Arena::Scope scope(ctx.arena);
  const Tensor expert = ctx.arena.take("moe.sent_expert", DType::kInt32, {num_rows, 1});
  const Tensor weight = ctx.arena.take("moe.sent_weight", saved.weight.dtype, {num_rows, 1});
  const Tensor local_expert = ctx.arena.take("moe.local_expert", DType::kInt32, {num_local, 1});
  permute(ctx.stream, column(saved.expert), column(saved.plan.slot), expert);
  permute(ctx.stream, column(saved.weight), column(saved.plan.slot), weight);
  Pending experts = ctx.experts->dispatch(ctx.stream, expert, saved.route, local_expert);
  Pending weights = ctx.experts->dispatch(ctx.stream, weight, saved.route, saved.local_weight);
  experts.wait();
  weights.wait();
  expert_permute_plan(ctx.stream, local_expert, saved.local);
  saved.local.offsets = offsets.rows(shard_.first(), shard_.count() + 1);  // all rows are of the experts here
}

Moe::Dispatch Moe::begin_dispatch(Context& ctx, const Tensor& tokens, const Saved& saved, const Tensor& sorted) const {
  if (shard_.num_ranks == 1) {
    permute(ctx.stream, tokens, saved.plan.slot, sorted);
    return {};
  }
  const int64_t width = tokens.size(1);
  const Tensor rows = ctx.experts->take_rows(ctx.stream, tokens.dtype, saved.expert.numel(), width);
  const Tensor arrived = ctx.experts->take_arrived(ctx.stream, tokens.dtype, saved.route.num_received, width);
  permute(ctx.stream, tokens, saved.plan.slot, rows);
  return {.rows = ctx.experts->dispatch(ctx.stream, rows, saved.route, arrived), .arrived = arrived};
}

// sorted = the rows, in the order of this rank's experts.
void Moe::finish_dispatch(Context& ctx, Dispatch& dispatch, const Saved& saved, const Tensor& sorted) const {
  if (shard_.num_ranks == 1) return;
  dispatch.rows.wait();
  permute(ctx.stream, dispatch.arrived, saved.local.slot, sorted);
}

// The rows of this rank's experts, back where they came from and in the order of saved.plan. They live until the next
// dispatch.
Tensor Moe::combine(Context& ctx, const Tensor& sorted, const Saved& saved) const {
  if (shard_.num_ranks == 1) return sorted;
  const int64_t width = sorted.size(1);
  const Tensor rows = ctx.experts->take_rows(ctx.stream, sorted.dtype, saved.expert.numel(), width);
  const Tensor arrived = ctx.experts->take_arrived(ctx.stream, sorted.dtype, sorted.size(0), width);
  unpermute(ctx.stream, sorted, saved.local.slot, {}, arrived);
  ctx.experts->combine(ctx.stream, arrived, saved.route, rows).wait();
  return rows;
}

Tensor Moe::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  route(ctx, x, saved);
  find_local_rows(ctx, saved);
  const int64_t num_rows = saved.local_weight.numel(), hidden = x.size(1), width = config_.expert_hidden;
  saved.sorted = ctx.arena.take("moe.sorted", x.dtype, {num_rows, hidden});
  saved.gate_up = ctx.arena.take("moe.gate_up", x.dtype, {num_rows, 2 * width});
  saved.h = ctx.arena.take("moe.h", x.dtype, {num_rows, width});
  Dispatch dispatch = begin_dispatch(ctx, x, saved, saved.sorted);
  const Tensor y =
      shared_ ? shared_->forward(ctx, x, saved.shared) : ctx.arena.take("moe.y", x.dtype, {x.size(0), hidden});
  finish_dispatch(ctx, dispatch, saved, saved.sorted);

  expert_matmul_forward(ctx.stream, saved.sorted, gate_up_.value, saved.local.offsets, saved.gate_up);
  weighted_swiglu_forward(ctx.stream, saved.gate_up, saved.local_weight, saved.local.choice, saved.h);
  Arena::Scope scope(ctx.arena);
  const Tensor routed = ctx.arena.take("moe.routed", x.dtype, {num_rows, hidden});
  expert_matmul_forward(ctx.stream, saved.h, down_.value, saved.local.offsets, routed);
  unpermute(ctx.stream, combine(ctx, routed, saved), saved.plan.slot, shared_ ? y : Tensor{}, y);
  return y;
}

// Gradient of the rows in the experts' order, from that of what the experts give; in the same memory. Also writes the
// weights' gradient.
void Moe::backward_experts(Context& ctx, const Tensor& drows, const Tensor& dweight, const Saved& saved) const {
  Arena::Scope scope(ctx.arena);
  const Tensor& offsets = saved.local.offsets;
  const Tensor dh = ctx.arena.take("moe.dh", drows.dtype, {saved.h.size(0), saved.h.size(1)});
  expert_matmul_backward_weight(ctx.stream, drows, saved.h, offsets, down_.grad);
  expert_matmul_backward_input(ctx.stream, drows, down_.value, offsets, dh);
  const Tensor dgate_up = ctx.arena.take("moe.dgate_up", drows.dtype, {saved.gate_up.size(0), saved.gate_up.size(1)});
  weighted_swiglu_backward(ctx.stream, saved.gate_up, saved.local_weight, saved.local.choice, dh, dgate_up, dweight);
  expert_matmul_backward_weight(ctx.stream, dgate_up, saved.sorted, offsets, gate_up_.grad);
  expert_matmul_backward_input(ctx.stream, dgate_up, gate_up_.value, offsets, drows);
}

// The weights' gradients [num_tokens, top_k], from those of the rows that this rank's experts saw.
Tensor Moe::combine_weight_grads(Context& ctx, const Tensor& dlocal_weight, const Saved& saved) const {
  if (shard_.num_ranks == 1) return dlocal_weight;
  const int64_t num_rows = saved.expert.numel();
  const Tensor dweight = ctx.arena.take("moe.dweight", dlocal_weight.dtype, {saved.expert.size(0), config_.top_k});
  Arena::Scope scope(ctx.arena);
  const Tensor sorted = ctx.arena.take("moe.sent_dweight", dlocal_weight.dtype, {num_rows, 1});
  ctx.experts->combine(ctx.stream, dlocal_weight, saved.route, sorted).wait();
  unpermute(ctx.stream, sorted, column(saved.plan.slot), {}, column(dweight));
  return dweight;
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
  const Tensor dlocal_weight =
      ctx.arena.take("moe.dlocal_weight", saved.weight.dtype, {saved.local_weight.size(0), saved.local_weight.size(1)});
  Dispatch dispatch = begin_dispatch(ctx, dy, saved, drows);
  const Tensor dx =
      shared_ ? shared_->backward(ctx, dy, saved.shared) : ctx.arena.take("moe.dx", x.dtype, {x.size(0), x.size(1)});
  finish_dispatch(ctx, dispatch, saved, drows);

  backward_experts(ctx, drows, dlocal_weight, saved);
  backward_router(ctx, combine_weight_grads(ctx, dlocal_weight, saved), saved, dx, shared_.has_value());
  unpermute(ctx.stream, combine(ctx, drows, saved), saved.plan.slot, dx, dx);
  return dx;
}

}  // namespace engram
