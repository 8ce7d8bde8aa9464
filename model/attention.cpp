#include "model/attention.h"

#include "kernels/attention.h"

namespace engram {
namespace {

Linear projection(ParameterStore& store, const std::string& name, int64_t out, int64_t in, double deviation) {
  return Linear(store.add(name + ".weight", {out, in}, deviation));
}

Parameter* gain(ParameterStore& store, const std::string& name, const AttentionConfig& config) {
  return config.qk_norm ? &store.add(name + ".weight", {config.head_dim}, 0.0, 1.0) : nullptr;
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
      norm_eps_(config.norm_eps),
      qkv_(projection(store, name + ".qkv", (num_heads_ + 2 * num_kv_heads_) * head_dim_, config.hidden,
                      config.init_std)),
      out_(projection(store, name + ".out", config.hidden, num_heads_ * head_dim_, config.residual_init_std())),
      query_gain_(gain(store, name + ".query_norm", config.attention)),
      key_gain_(gain(store, name + ".key_norm", config.attention)) {}

QkNorm Attention::norm() const {
  if (query_gain_ == nullptr) return {};
  return {
      .query_gain = query_gain_->value, .key_gain = key_gain_->value, .num_query_heads = num_heads_, .eps = norm_eps_};
}

Tensor Attention::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const int64_t num_turned = num_heads_ + num_kv_heads_;
  saved.qkv = as_heads(ctx, qkv_.forward(ctx, x, saved.in), num_turned + num_kv_heads_, head_dim_);
  // The norm's gradient needs what was projected; a rotation alone can be done, and undone, in place.
  saved.qk = query_gain_ == nullptr
                 ? saved.qkv
                 : ctx.arena.take("attention.qk", x.dtype, {ctx.num_sequences, ctx.seq_len, num_turned, head_dim_});
  rope_forward(ctx.stream, queries_and_keys(saved.qkv), norm(), ctx.rope_table, queries_and_keys(saved.qk));

  saved.attended =
      ctx.arena.take("attention.attended", x.dtype, {ctx.num_sequences, ctx.seq_len, num_heads_, head_dim_});
  saved.lse = ctx.arena.take("attention.lse", accumulator(x.dtype), {ctx.num_sequences, num_heads_, ctx.seq_len});
  attention_forward(ctx.stream, queries(saved.qk), keys(saved.qk), values(saved.qkv), saved.attended, saved.lse);
  return out_.forward(ctx, saved.attended.reshape({x.size(0), num_heads_ * head_dim_}), saved.out);
}

Tensor Attention::backward(Context& ctx, const Tensor& dy, const Saved& saved) const {
  const Tensor dattended = as_heads(ctx, out_.backward(ctx, dy, saved.out), num_heads_, head_dim_);
  const Tensor dqkv = ctx.arena.take("attention.dqkv", dy.dtype, {dy.size(0), saved.qkv.size(2) * head_dim_});
  const Tensor dheads = as_heads(ctx, dqkv, saved.qkv.size(2), head_dim_);
  attention_backward(ctx.stream, queries(saved.qk), keys(saved.qk), values(saved.qkv), saved.attended, saved.lse,
                     dattended, queries(dheads), keys(dheads), values(dheads));
  rope_backward(ctx.stream, queries_and_keys(saved.qkv), norm(), ctx.rope_table, queries_and_keys(dheads),
                queries_and_keys(dheads), query_gain_ == nullptr ? Tensor{} : query_gain_->grad,
                key_gain_ == nullptr ? Tensor{} : key_gain_->grad);
  return qkv_.backward(ctx, dqkv, saved.in);
}

}  // namespace engram
