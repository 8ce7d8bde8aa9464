#include "model/engram.h"

#include <algorithm>

#include "kernels/core/device.h"
#include "kernels/matmul.h"
#include "kernels/row_gather.h"
#include "kernels/row_segment_sum.h"
#include "kernels/short_conv.h"
#include "kernels/sum.h"

namespace engram {
namespace {

ShortConvOptions conv_options(const EngramConfig& config) {
  return {.dilation = config.max_order(), .eps = config.conv_eps};
}

EngramGateOptions gate_options(const EngramConfig& config) {
  return {.form = config.gate, .sign = config.gate_sign, .eps = config.eps};
}

size_t table_of(const std::vector<int64_t>& layers, int64_t layer) {
  return static_cast<size_t>(std::find(layers.begin(), layers.end(), layer) - layers.begin());
}

Tensor zeros(Context& ctx, const Tensor& like) {
  const Tensor none = ctx.arena.take("engram.zeros", like.dtype, {like.size(0), like.size(1)});
  zero(ctx.stream, none);
  return none;
}

}  // namespace

Engram::Engram(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t layer)
    : config_(config.engram),
      table_(table_of(config.engram.layers, layer)),
      num_streams_(config.connections.streams),
      hidden_(config.hidden),
      kv_(store.add(name + ".kv.weight", ParameterKind::kMatrix, {(num_streams_ + 1) * hidden_, config_.memory_dim},
                    config.init_std)),
      query_gain_(store.add(name + ".query_norm.weight", ParameterKind::kVector, {num_streams_, hidden_}, 0.0, 1.0)),
      key_gain_(store.add(name + ".key_norm.weight", ParameterKind::kVector, {num_streams_, hidden_}, 0.0, 1.0)) {
  if (config_.conv) {
    conv_.emplace(ShortConv{
        .gain = store.add(name + ".conv_norm.weight", ParameterKind::kVector, {num_streams_, hidden_}, 0.0, 1.0),
        .weight =
            store.add(name + ".conv.weight", ParameterKind::kConv, {num_streams_ * hidden_, kEngramConvTaps}, 0.0)});
  }
}

// The rows of every token side by side: [num_tokens, memory_dim].
Tensor Engram::gather(Context& ctx, const MicroBatch& batch) const {
  const Tensor e = ctx.arena.take("engram.e", kv_.value.dtype, {ctx.num_tokens(), config_.memory_dim});
  row_gather(ctx.stream, batch.memory.fetched->wait(ctx.stream), batch.memory.index[table_],
             e.reshape({ctx.num_tokens() * config_.num_columns(), config_.row_width()}));
  return e;
}

Tensor Engram::forward(Context& ctx, const Tensor& streams, const MicroBatch& batch, Saved& saved) const {
  const int64_t num_tokens = ctx.num_tokens();
  const auto take_statistic = [&](const char* name) {
    return ctx.arena.take(name, accumulator(streams.dtype), {num_tokens, num_streams_});
  };
  saved.streams = streams;
  saved.kv = ctx.arena.take("engram.kv", streams.dtype, {num_tokens, (num_streams_ + 1) * hidden_});
  saved.gated = ctx.arena.take("engram.gated", streams.dtype, {num_tokens, num_streams_, hidden_});
  saved.gate = {.score = take_statistic("engram.score"),
                .alpha = take_statistic("engram.alpha"),
                .inv_rms_q = take_statistic("engram.inv_rms_q"),
                .inv_rms_k = take_statistic("engram.inv_rms_k")};
  matmul(ctx.stream, gather(ctx, batch), kv_.value, saved.kv, {.transpose_b = true});
  engram_gate_forward(ctx.stream, streams, saved.kv, query_gain(ctx), key_gain_.value, {}, gate_options(config_),
                      saved.gated, saved.gate);
  if (ctx.count_statistics) sum(ctx.stream, saved.gate.alpha, ctx.gate_sum);
  return conv_ ? convolve(ctx, batch, saved) : saved.gated;
}

// Zero without a gate: then the score is 0 whatever the hidden state, and so is every gradient that passes through it.
Tensor Engram::query_gain(Context& ctx) const {
  return config_.gated ? query_gain_.value : zeros(ctx, query_gain_.value);
}

Tensor Engram::convolve(Context& ctx, const MicroBatch& batch, Saved& saved) const {
  const int64_t width = num_streams_ * hidden_;
  const Tensor y = ctx.arena.take("engram.y", saved.gated.dtype, {ctx.num_tokens(), num_streams_, hidden_});
  saved.conv_inv_rms =
      ctx.arena.take("engram.conv_inv_rms", accumulator(y.dtype), {ctx.num_sequences, ctx.seq_len, num_streams_});
  short_conv_forward(ctx.stream, saved.gated.reshape({ctx.num_sequences, ctx.seq_len, width}), conv_->gain.value,
                     conv_->weight.value, config_.conv_reset ? batch.starts : Tensor{}, conv_options(config_),
                     y.reshape({ctx.num_sequences, ctx.seq_len, width}), saved.conv_inv_rms);
  return y;
}

Tensor Engram::convolve_backward(Context& ctx, const Tensor& dy, const MicroBatch& batch, const Saved& saved) const {
  const int64_t width = num_streams_ * hidden_;
  const Tensor dgated = ctx.arena.take("engram.dgated", dy.dtype, {ctx.num_tokens(), num_streams_, hidden_});
  short_conv_backward(ctx.stream, saved.gated.reshape({ctx.num_sequences, ctx.seq_len, width}), conv_->gain.value,
                      conv_->weight.value, config_.conv_reset ? batch.starts : Tensor{}, conv_options(config_),
                      saved.conv_inv_rms, dy.reshape({ctx.num_sequences, ctx.seq_len, width}),
                      {.dv = dgated.reshape({ctx.num_sequences, ctx.seq_len, width}),
                       .dgain = conv_->gain.grad,
                       .dweight = conv_->weight.grad});
  return dgated;
}

void Engram::backward(Context& ctx, const Tensor& d, const MicroBatch& batch, const Saved& saved) const {
  const int64_t num_tokens = ctx.num_tokens();
  const Tensor dgated = conv_ ? convolve_backward(ctx, d, batch, saved) : d;
  const Tensor dkv = ctx.arena.take("engram.dkv", d.dtype, {num_tokens, (num_streams_ + 1) * hidden_});
  const Tensor dgain_q = config_.gated ? query_gain_.grad : zeros(ctx, query_gain_.grad);
  engram_gate_backward(ctx.stream, saved.streams, saved.kv, query_gain(ctx), key_gain_.value, {}, gate_options(config_),
                       saved.gate, dgated, d, {.dh = d, .dkv = dkv, .dgain_q = dgain_q, .dgain_k = key_gain_.grad});

  const Tensor e = gather(ctx, batch);  // read again rather than kept
  matmul(ctx.stream, dkv, e, kv_.grad, {.transpose_a = true, .accumulate = true});
  const Tensor de = ctx.arena.take("engram.de", d.dtype, {num_tokens, config_.memory_dim});
  matmul(ctx.stream, dkv, kv_.value, de, {});
  row_segment_sum(ctx.stream, de.reshape({num_tokens * config_.num_columns(), config_.row_width()}),
                  batch.memory.index[table_], batch.memory.row_grads);
}

}  // namespace engram
