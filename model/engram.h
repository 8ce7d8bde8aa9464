#pragma once

#include <optional>

#include "model/linear.h"
#include "model/micro_batch.h"
#include "model/model_config.h"

namespace engram {

// Conditional memory (arXiv:2601.07372, section 2): the table rows of a token's n-grams, concatenated to e, become one
// key per residual stream and one value; the key's agreement with the stream gates the value.
//   kv = e W_kv^T;  y^m = gate(h^m, key^m) value, then optionally a short convolution.
// Without a gate there are no keys: y = value / 2, or (value - h) / 2, which makes the stream the mean of both.
class Engram {
 public:
  struct Saved {
    Tensor streams;  // [num_tokens, M, hidden], the caller's own
    Tensor kv;       // [num_tokens, (M + 1) hidden]; the value alone without a gate
    Tensor gated;    // [num_tokens, M, hidden]
    Tensor conv_inv_rms;
    EngramGateSaved gate;  // empty without one
  };
  // layer: zero-based block number; one of config.engram.layers.
  Engram(ParameterStore& store, const std::string& name, const ModelConfig& config, int64_t layer);

  // Returns y [num_tokens, M, hidden], to be added to the streams.
  Tensor forward(Context& ctx, const Tensor& streams, const MicroBatch& batch, Saved& saved) const;
  // d [num_tokens, M, hidden]: on entry the gradient of streams + y, on return that of the streams, by way of y and
  // past it. Writes batch.memory.grads.
  void backward(Context& ctx, const Tensor& d, const MicroBatch& batch, const Saved& saved) const;

 private:
  struct Gate {
    Parameter &query_gain, &key_gain;  // [M, hidden]
  };
  struct ShortConv {
    Parameter& gain;    // [M, hidden]
    Parameter& weight;  // [M hidden, kEngramConvTaps]
  };
  int64_t kv_width() const { return ((config_.gated() ? num_streams_ : 0) + 1) * hidden_; }
  Tensor gather(Context& ctx, const MicroBatch& batch) const;
  void gate(Context& ctx, Saved& saved) const;
  void fuse(Context& ctx, Saved& saved) const;
  Tensor fuse_backward(Context& ctx, const Tensor& dgated, const Tensor& d, const Saved& saved) const;
  Tensor convolve(Context& ctx, const MicroBatch& batch, Saved& saved) const;
  Tensor convolve_backward(Context& ctx, const Tensor& dy, const MicroBatch& batch, const Saved& saved) const;

  EngramConfig config_;
  size_t table_;  // place of the layer among config.engram.layers
  int64_t num_streams_, hidden_;
  Parameter& kv_;  // [kv_width(), memory_dim]: the keys in stream order, then the value
  std::optional<Gate> gate_;
  std::optional<ShortConv> conv_;
};

}  // namespace engram
