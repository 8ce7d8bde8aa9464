#include "model/block.h"

#include <algorithm>

#include "kernels/core/device.h"

namespace engram {
namespace {

Connection connection(ParameterStore& store, const std::string& name, const ModelConfig& config) {
  return {store.add(name + ".weight", {config.hidden}, 0.0, 1.0), config.norm_eps};
}

std::optional<Engram> engram_at(ParameterStore& store, const std::string& name, const ModelConfig& config,
                                int64_t layer) {
  const auto& layers = config.engram.layers;
  if (std::find(layers.begin(), layers.end(), layer) == layers.end()) return std::nullopt;
  return Engram(store, name + ".engram", config, layer);
}

std::string name_of_block(int64_t layer) { return "blocks." + std::to_string(layer); }

// Room for a residual outside the scope that computes it.
Residual take_residual(Context& ctx, const Residual& like) {
  const Tensor& s = like.streams;
  return {.streams = ctx.arena.take("block.streams", s.dtype, {s.size(0), s.size(1), s.size(2)}),
          .pending = ctx.arena.take("block.pending", s.dtype, {s.size(0), s.size(2)})};
}

void copy_residual(Context& ctx, const Residual& from, const Residual& to) {
  copy(ctx.stream, from.streams, to.streams);
  copy(ctx.stream, from.pending, to.pending);
}

}  // namespace

Block::Block(ParameterStore& store, const ModelConfig& config, int64_t layer, bool recompute,
             const ExpertPlacement& experts)
    : recompute_(recompute),
      engram_(engram_at(store, name_of_block(layer), config, layer)),
      attention_connection_(connection(store, name_of_block(layer) + ".attention_norm", config)),
      attention_(store, name_of_block(layer) + ".attention", config),
      feed_forward_connection_(connection(store, name_of_block(layer) + ".feed_forward_norm", config)) {
  if (config.is_moe_layer(layer)) {
    moe_.emplace(store, name_of_block(layer) + ".moe", config, layer - config.num_dense_layers, experts);
  } else {
    feed_forward_.emplace(store, name_of_block(layer) + ".feed_forward",
                          FeedForwardShape{.hidden = config.hidden,
                                           .width = config.ffn_hidden,
                                           .init_std = config.init_std,
                                           .residual_init_std = config.residual_init_std()});
  }
}

Residual Block::compute(Context& ctx, Residual residual, const MicroBatch& batch, Saved& saved) const {
  if (engram_) {
    const Tensor merged = Connection::merge(ctx, residual);
    const Tensor y = engram_->forward(ctx, merged, batch, saved.engram);
    residual = {.streams = merged, .pending = y.reshape({y.size(0), y.size(2)})};
  }
  const Tensor attention_in = attention_connection_.forward(ctx, residual, saved.attention_connection);
  residual.pending = attention_.forward(ctx, attention_in, saved.attention);
  const Tensor x = feed_forward_connection_.forward(ctx, residual, saved.feed_forward_connection);
  residual.pending = moe_ ? moe_->forward(ctx, x, saved.moe) : feed_forward_->forward(ctx, x, saved.feed_forward);
  return residual;
}

void Block::differentiate(Context& ctx, const Residual& d, const MicroBatch& batch, const Saved& saved) const {
  const Tensor dx =
      moe_ ? moe_->backward(ctx, d.pending, saved.moe) : feed_forward_->backward(ctx, d.pending, saved.feed_forward);
  feed_forward_connection_.backward(ctx, d.streams, dx, saved.feed_forward_connection);
  const Tensor dattention_in = attention_.backward(ctx, d.pending, saved.attention);
  attention_connection_.backward(ctx, d.streams, dattention_in, saved.attention_connection);
  if (engram_) engram_->backward(ctx, d.streams, batch, saved.engram);
}

Residual Block::forward(Context& ctx, const Residual& input, const MicroBatch& batch, Saved& saved) const {
  saved.input = input;
  if (!recompute_) return compute(ctx, input, batch, saved);
  const Residual output = take_residual(ctx, input);
  Arena::Scope scope(ctx.arena);
  Saved dropped;
  copy_residual(ctx, compute(ctx, input, batch, dropped), output);
  return output;
}

void Block::backward(Context& ctx, const Residual& d, const MicroBatch& batch, Saved& saved) const {
  Arena::Scope scope(ctx.arena);
  if (recompute_) {
    const bool count = std::exchange(ctx.count_statistics, false);  // these tokens were counted in forward
    compute(ctx, saved.input, batch, saved);
    ctx.count_statistics = count;
  }
  differentiate(ctx, d, batch, saved);
}

}  // namespace engram
