#include "model/language_model.h"

#include <algorithm>

#include "kernels/core/device.h"
#include "kernels/embedding.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"
#include "kernels/softmax_xent.h"

namespace engram {
namespace {

std::vector<std::unique_ptr<Block>> make_blocks(ParameterStore& store, const ModelConfig& config,
                                                const LanguageModelOptions& options) {
  std::vector<std::unique_ptr<Block>> blocks;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    store.begin_layer(layer);
    if (options.experts.store != nullptr) options.experts.store->begin_layer(layer);
    blocks.push_back(std::make_unique<Block>(store, config, layer, options.recompute, options.experts));
  }
  return blocks;
}

}  // namespace

LanguageModel::LanguageModel(ParameterStore& store, const ModelConfig& config, const LanguageModelOptions& options)
    : config_(config),
      options_(options),
      embedding_(store.add("embedding.weight", {config.vocab_size, config.hidden}, config.init_std)),
      blocks_(make_blocks(store, config, options)),
      final_norm_(store.add("final_norm.weight", {config.hidden}, 0.0, 1.0), config.norm_eps),
      head_(config.tie_embeddings ? embedding_
                                  : store.add("head.weight", {config.vocab_size, config.hidden}, config.init_std)) {}

Tensor LanguageModel::forward(Context& ctx, const MicroBatch& batch, Saved& saved) const {
  const DType dtype = embedding_.value.dtype;
  const int64_t num_tokens = ctx.num_tokens();
  ctx.rope_table = ctx.arena.take("rope_table", accumulator(dtype), {ctx.seq_len, config_.attention.head_dim / 2, 2});
  rope_table(ctx.stream, config_.attention.rope_theta, ctx.rope_table);
  saved.rope_table = ctx.rope_table;

  if (ctx.before_layer) ctx.before_layer(-1);
  const Tensor embedded = ctx.arena.take("embedding.y", dtype, {num_tokens, 1, config_.hidden});
  embedding_forward(ctx.stream, batch.tokens, embedding_.value, embedded.reshape({num_tokens, config_.hidden}));
  Residual residual{.streams = embedded, .pending = {}};
  saved.blocks.assign(blocks_.size(), {});
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    if (ctx.before_layer) ctx.before_layer(static_cast<int64_t>(layer));
    residual = blocks_[layer]->forward(ctx, residual, batch, saved.blocks[layer]);
  }
  return final_norm_.forward(ctx, residual, saved.final_norm);
}

Tensor LanguageModel::loss(Context& ctx, const Tensor& hidden, const Tensor& targets, const LossOptions& options,
                           const Tensor& losses) const {
  const int64_t num_tokens = hidden.size(0);
  const Tensor dhidden =
      options.with_gradient ? ctx.arena.take("loss.dhidden", hidden.dtype, {num_tokens, config_.hidden}) : Tensor{};
  for (int64_t begin = 0; begin < num_tokens; begin += options_.logits_chunk) {
    Arena::Scope scope(ctx.arena);
    const int64_t count = std::min(options_.logits_chunk, num_tokens - begin);
    const Tensor chunk = hidden.rows(begin, count);
    const Tensor scores = logits(ctx, chunk);
    softmax_xent(ctx.stream, scores, targets.rows(begin, count), options.grad_scale, losses.rows(begin, count),
                 options.with_gradient ? scores : Tensor{});
    if (!options.with_gradient) continue;
    matmul(ctx.stream, scores, head_.value, dhidden.rows(begin, count), {});
    matmul(ctx.stream, scores, chunk, head_.grad, {.transpose_a = true, .accumulate = true});
  }
  return dhidden;
}

void LanguageModel::backward(Context& ctx, const Tensor& dhidden, const MicroBatch& batch, Saved& saved) const {
  ctx.rope_table = saved.rope_table;
  const Residual d = final_norm_.backward(ctx, {}, dhidden, saved.final_norm);
  for (size_t layer = blocks_.size(); layer-- > 0;) {
    blocks_[layer]->backward(ctx, d, batch, saved.blocks[layer]);
    if (ctx.on_gradients) ctx.on_gradients(static_cast<int64_t>(layer));
  }
  embedding_backward(ctx.stream, batch.tokens, d.streams.reshape({ctx.num_tokens(), config_.hidden}), embedding_.grad);
}

Tensor LanguageModel::logits(Context& ctx, const Tensor& hidden) const {
  const Tensor scores = ctx.arena.take("logits", hidden.dtype, {hidden.size(0), config_.vocab_size});
  matmul(ctx.stream, hidden, head_.value, scores, {.transpose_b = true});
  return scores;
}

}  // namespace engram
