#include "model/engram.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/row_gather.h"
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

}  // namespace

Engram::Engram(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t layer)
    : config_(config.engram),
      table_(table_of(config.engram.layers, layer)),
      num_streams_(config.connections.streams),
      hidden_(config.hidden),
      kv_(store.add(name + ".kv.weight", {kv_width(), config_.memory_dim}, config.init_std)) {
  const auto add_gain = [&](const char* ending) -> Parameter& {
    return store.add(name + ending, {num_streams_, hidden_}, 0.0, 1.0);
  };
  if (config_.gated()) {
    Parameter& query_gain = add_gain(".query_norm.weight");
    gate_.emplace(Gate{.query_gain = query_gain, .key_gain = add_gain(".key_norm.weight")});
  }
  if (config_.conv) {
    Parameter& gain = add_gain(".conv_norm.weight");
    conv_.emplace(ShortConv{
        .gain = gain, .weight = store.add(name + ".conv.weight", {num_streams_ * hidden_, kEngramConvTaps}, 0.0)});
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
  saved.streams = streams;
  saved.kv = ctx.arena.take("engram.kv", streams.dtype, {ctx.num_tokens(), kv_width()});
  saved.gated = ctx.arena.take("engram.gated", streams.dtype, {ctx.num_tokens(), num_streams_, hidden_});
  matmul(ctx.stream, gather(ctx, batch), kv_.value, saved.kv, {.transpose_b = true});
  if (gate_) {
    gate(ctx, saved);
  } else {
    fuse(ctx, saved);
  }
  return conv_ ? convolve(ctx, batch, saved) : saved.gated;
}

void Engram::gate(Context& ctx, Saved& saved) const {
  const auto take_statistic = [&](const char* name) {
    return ctx.arena.take(name, accumulator(saved.kv.dtype), {ctx.num_tokens(), num_streams_});
  };
  saved.gate = {.score = take_statistic("engram.score"),
                .alpha = take_statistic("engram.alpha"),
                .inv_rms_q = take_statistic("engram.inv_rms_q"),
                .inv_rms_k = take_statistic("engram.inv_rms_k")};
  engram_gate_forward(ctx.stream, saved.streams, saved.kv, gate_->query_gain.value, gate_->key_gain.value, {},
                      gate_options(config_), saved.gated, saved.gate);
  if (ctx.count_statistics) sum(ctx.stream, saved.gate.alpha, ctx.gate_sums.rows(static_cast<int64_t>(table_), 1));
}

void Engram::fuse(Context& ctx, Saved& saved) const {
  const Tensor y = saved.gated.reshape({ctx.num_tokens(), hidden_});
  scale(ctx.stream, 0.5, saved.kv, y);
  if (config_.fusion != MemoryFusion::kMean) return;
  const Tensor less = ctx.arena.take("engram.less", y.dtype, {ctx.num_tokens(), hidden_});
  scale(ctx.stream, -0.5, saved.streams.reshape({ctx.num_tokens(), hidden_}), less);
  add(ctx.stream, y, less, y);
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

// Gradient of kv from that of the fused value; that of streams + y in d becomes that of the streams.
Tensor Engram::fuse_backward(Context& ctx, const Tensor& dgated, const Tensor& d, const Saved& saved) const {
  const Tensor dkv = ctx.arena.take("engram.dkv", d.dtype, {ctx.num_tokens(), kv_width()});
  if (gate_) {
    engram_gate_backward(ctx.stream, saved.streams, saved.kv, gate_->query_gain.value, gate_->key_gain.value, {},
                         gate_options(config_), saved.gate, dgated, d,
                         {.dh = d, .dkv = dkv, .dgain_q = gate_->query_gain.grad, .dgain_k = gate_->key_gain.grad});
    return dkv;
  }
  scale(ctx.stream, 0.5, dgated.reshape({ctx.num_tokens(), hidden_}), dkv);
  if (config_.fusion == MemoryFusion::kMean) scale(ctx.stream, 0.5, d, d);
  return dkv;
}

void Engram::backward(Context& ctx, const Tensor& d, const MicroBatch& batch, const Saved& saved) const {
  const int64_t num_tokens = ctx.num_tokens();
  const Tensor dgated = conv_ ? convolve_backward(ctx, d, batch, saved) : d;
  const Tensor dkv = fuse_backward(ctx, dgated, d, saved);
  const Tensor e = gather(ctx, batch);  // read again rather than kept
  matmul(ctx.stream, dkv, e, kv_.grad, {.transpose_a = true, .accumulate = true});
  matmul(ctx.stream, dkv, kv_.value, batch.memory.grads[table_].reshape({num_tokens, config_.memory_dim}), {});
}

}  // namespace engram
