#include "model/attention.h"

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/rope.h"

namespace engram {
namespace {

Linear projection(ParameterStore& store, const std::string& name, int64_t out, int64_t in, double deviation) {
  return Linear(store.add(name + ".weight", ParameterKind::kMatrix, {out, in}, deviation));
}

std::optional<RmsNorm> head_norm(ParameterStore& store, const std::string& name, const ModelConfig& config) {
  if (!config.attention.qk_norm) return std::nullopt;
  return RmsNorm(store.add(name + ".weight", ParameterKind::kVector, {config.attention.head_dim}, 0.0, 1.0),
                 config.norm_eps);
}

// The same memory as [num_sequences, seq_len, num_heads, head_dim].
Tensor as_heads(const Context& ctx, const Tensor& x, int64_t num_heads, int64_t head_dim) {
  return x.reshape({ctx.num_sequences, ctx.seq_len, num_heads, head_dim});
}

}  // namespace

Attention::Attention(ParameterStore& store, const std::string& name, const ModelConfig& config)
    : num_heads_(config.attention.num_heads),
      num_kv_heads_(config.attention.num_kv_heads),
      head_dim_(config.attention.head_dim),
      query_(projection(store, name + ".query", num_heads_ * head_dim_, config.hidden, config.init_std)),
      key_(projection(store, name + ".key", num_kv_heads_ * head_dim_, config.hidden, config.init_std)),
      value_(projection(store, name + ".value", num_kv_heads_ * head_dim_, config.hidden, config.init_std)),
      out_(projection(store, name + ".out", config.hidden, num_heads_ * head_dim_, config.residual_init_std())),
      query_norm_(head_norm(store, name + ".query_norm", config)),
      key_norm_(head_norm(store, name + ".key_norm", config)) {}

// One projection of the saved input, normed per head where there is a norm.
Tensor Attention::project(Context& ctx, const Linear& linear, const std::optional<RmsNorm>& norm,
                          RmsNorm::Saved& norm_saved, Linear::Saved& saved) const {
  const Tensor y = linear.forward(ctx, saved.x, saved);
  if (!norm) return y;
  return norm->forward(ctx, y.reshape({y.numel() / head_dim_, head_dim_}), norm_saved);
}

Tensor Attention::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  saved.in.x = x;
  saved.q = as_heads(ctx, project(ctx, query_, query_norm_, saved.q_norm, saved.in), num_heads_, head_dim_);
  saved.k = as_heads(ctx, project(ctx, key_, key_norm_, saved.k_norm, saved.in), num_kv_heads_, head_dim_);
  saved.v = as_heads(ctx, value_.forward(ctx, x, saved.in), num_kv_heads_, head_dim_);
  rope_forward(ctx.stream, saved.q, ctx.rope_table, saved.q);
  rope_forward(ctx.stream, saved.k, ctx.rope_table, saved.k);

  saved.attended =
      ctx.arena.take("attention.attended", x.dtype, {ctx.num_sequences, ctx.seq_len, num_heads_, head_dim_});
  saved.lse = ctx.arena.take("attention.lse", accumulator(x.dtype), {ctx.num_sequences, num_heads_, ctx.seq_len});
  attention_forward(ctx.stream, saved.q, saved.k, saved.v, saved.attended, saved.lse);
  return out_.forward(ctx, saved.attended.reshape({x.size(0), num_heads_ * head_dim_}), saved.out);
}

Tensor Attention::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  const DType dtype = dy.dtype;
  const Tensor dattended = out_.backward(ctx, dy, saved.out);
  const auto take_like = [&](const char* name, const Tensor& x) {
    return ctx.arena.take(name, dtype, {x.size(0), x.size(1), x.size(2), x.size(3)});
  };
  const Tensor dq = take_like("attention.dq", saved.q);
  const Tensor dk = take_like("attention.dk", saved.k);
  const Tensor dv = take_like("attention.dv", saved.v);
  attention_backward(ctx.stream, saved.q, saved.k, saved.v, saved.attended, saved.lse,
                     as_heads(ctx, dattended, num_heads_, head_dim_), dq, dk, dv);
  rope_backward(ctx.stream, dq, ctx.rope_table, dq);
  rope_backward(ctx.stream, dk, ctx.rope_table, dk);

  const auto through = [&](const Linear& linear, const std::optional<RmsNorm>& norm, const RmsNorm::Saved& norm_saved,
                           const Tensor& d) {
    const Tensor dhead = norm ? norm->backward(ctx, d.reshape({d.numel() / head_dim_, head_dim_}), norm_saved) : d;
    return linear.backward(ctx, dhead.reshape({ctx.num_tokens(), d.size(2) * head_dim_}), saved.in);
  };
  const Tensor dx = through(query_, query_norm_, saved.q_norm, dq);
  add(ctx.stream, dx, through(key_, key_norm_, saved.k_norm, dk), dx);
  add(ctx.stream, dx, through(value_, std::nullopt, {}, dv), dx);
  return dx;
}

}  // namespace engram
