#include "model/moe.h"

#include "kernels/core/device.h"
#include "kernels/elementwise.h"
#include "kernels/expert_matmul.h"
#include "kernels/expert_permute.h"
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
  const int64_t num_tokens = x.size(0), num_experts = config_.num_experts;
  const DType wide = accumulator(x.dtype);
  saved.x = x;
  saved.logits = ctx.arena.take("moe.logits", wide, {num_tokens, num_experts});
  saved.expert = ctx.arena.take("moe.expert", DType::kInt32, {num_tokens, config_.top_k});
  saved.weight = ctx.arena.take("moe.weight", wide, {num_tokens, config_.top_k});
  saved.slot = ctx.arena.take("moe.slot", DType::kInt64, {num_tokens, config_.top_k});
  saved.offsets = ctx.arena.take("moe.offsets", DType::kInt64, {num_experts + 1});
  const Tensor load = ctx.count_statistics ? ctx.loads.rows(mixture_, 1).reshape({num_experts})
                                           : ctx.arena.take("moe.load", DType::kInt64, {num_experts});
  if (!ctx.count_statistics) zero(ctx.stream, load);

  matmul(ctx.stream, x, router_.value, saved.logits, {.transpose_b = true});
  router_forward(ctx.stream, saved.logits, bias_.value, {.top_k = config_.top_k, .scale = config_.route_scale},
                 saved.expert, saved.weight, load);
  expert_permute_plan(ctx.stream, saved.expert, saved.offsets, saved.slot);
}

Tensor Moe::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const int64_t num_rows = x.size(0) * config_.top_k, hidden = x.size(1), width = config_.expert_hidden;
  route(ctx, x, saved);
  saved.sorted = ctx.arena.take("moe.sorted", x.dtype, {num_rows, hidden});
  saved.gate_up = ctx.arena.take("moe.gate_up", x.dtype, {num_rows, 2 * width});
  saved.h = ctx.arena.take("moe.h", x.dtype, {num_rows, width});
  saved.routed = ctx.arena.take("moe.routed", x.dtype, {num_rows, hidden});
  permute_forward(ctx.stream, x, saved.slot, saved.sorted);
  expert_matmul_forward(ctx.stream, saved.sorted, gate_up_.value, saved.offsets, saved.gate_up);
  swiglu_forward(ctx.stream, saved.gate_up, saved.h);
  expert_matmul_forward(ctx.stream, saved.h, down_.value, saved.offsets, saved.routed);

  const Tensor y = ctx.arena.take("moe.y", x.dtype, {x.size(0), hidden});
  unpermute_forward(ctx.stream, saved.routed, saved.slot, saved.weight, y);
  if (shared_) add(ctx.stream, y, shared_->forward(ctx, x, saved.shared), y);
  return y;
}

Tensor Moe::backward_router(Context& ctx, const Tensor& dweight, const Saved& saved) const {
  const Tensor dlogits = ctx.arena.take("moe.dlogits", saved.logits.dtype, {dweight.size(0), config_.num_experts});
  router_backward(ctx.stream, saved.logits, saved.expert, dweight,
                  {.top_k = config_.top_k, .scale = config_.route_scale}, dlogits);
  matmul(ctx.stream, dlogits, saved.x, router_.grad, {.transpose_a = true, .accumulate = true});
  const Tensor dx = ctx.arena.take("moe.dx", saved.x.dtype, {saved.x.size(0), saved.x.size(1)});
  matmul(ctx.stream, dlogits, router_.value, dx, {});
  return dx;
}

Tensor Moe::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  const auto take_like = [&](const char* name, const Tensor& x) {
    return ctx.arena.take(name, x.dtype, {x.size(0), x.size(1)});
  };
  const Tensor drouted = take_like("moe.drouted", saved.routed);
  const Tensor dweight = take_like("moe.dweight", saved.weight);
  unpermute_backward(ctx.stream, saved.routed, saved.slot, saved.weight, dy, drouted, dweight);

  const Tensor dh = take_like("moe.dh", saved.h);
  expert_matmul_backward_weight(ctx.stream, drouted, saved.h, saved.offsets, down_.grad);
  expert_matmul_backward_input(ctx.stream, drouted, down_.value, saved.offsets, dh);
  const Tensor dgate_up = take_like("moe.dgate_up", saved.gate_up);
  swiglu_backward(ctx.stream, saved.gate_up, dh, dgate_up);
  const Tensor dsorted = take_like("moe.dsorted", saved.sorted);
  expert_matmul_backward_weight(ctx.stream, dgate_up, saved.sorted, saved.offsets, gate_up_.grad);
  expert_matmul_backward_input(ctx.stream, dgate_up, gate_up_.value, saved.offsets, dsorted);

  const Tensor dx = take_like("moe.dx", saved.x);
  permute_backward(ctx.stream, dsorted, saved.slot, dx);
  add(ctx.stream, dx, backward_router(ctx, dweight, saved), dx);
  if (shared_) add(ctx.stream, dx, shared_->backward(ctx, dy, saved.shared), dx);
  return dx;
}

}  // namespace engram
