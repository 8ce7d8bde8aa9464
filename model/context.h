#pragma once

#include <functional>

#include "kernels/core/arena.h"
#include "kernels/core/stream.h"
#include "parallel/expert_exchange.h"

namespace engram {

// What every module needs to run: where work and activations go, and the shape of the micro-batch. The tokens of a
// micro-batch are num_sequences runs of seq_len tokens; [num_tokens, ...] tensors hold them one after the other.
struct Context {
  Stream& stream;
  Arena& arena;
  int64_t num_sequences = 0;
  int64_t seq_len = 0;
  Tensor rope_table = {};             // [seq_len, head_dim / 2, 2], see rope.h
  ExpertExchange* experts = nullptr;  // where ranks share the experts
  // Add to loads and to gate_sums: in the first forward pass of training only.
  bool count_statistics = false;
  Tensor loads = {};      // [num_mixtures, num_experts] int64: tokens routed to each expert, of mixtures in layer order
  Tensor gate_sums = {};  // [num Engram layers] float64: of the gates of each
  // Called by forward with -1 before it reads the embedding, then with each layer before the parameters of that layer;
  // the final norm and the head count as part of the last one.
  std::function<void(int64_t)> before_layer = {};
  // Called by backward with each layer, once the gradients of its parameters and of all later ones are complete.
  std::function<void(int64_t)> on_gradients = {};

  int64_t num_tokens() const { return num_sequences * seq_len; }
};

}  // namespace engram
