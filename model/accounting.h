#pragma once

#include "model/model_config.h"

namespace engram {

// Trainable parameters of a model by part. Also counts what `train` does not run (mla, mhc).
struct ParameterCount {
  int64_t embedding = 0;
  int64_t head = 0;  // 0 where it is tied to the embedding
  int64_t attention = 0;
  int64_t dense_feed_forward = 0;
  int64_t shared_experts = 0;
  int64_t routed_experts = 0;
  int64_t router = 0;
  int64_t engram_tables = 0;
  int64_t engram_projections = 0;
  int64_t engram_conv = 0;
  int64_t norms = 0;        // gains of every norm
  int64_t connections = 0;  // hyper-connections

  int64_t active_routed_experts = 0;  // of the routed experts, those that one token uses

  // All of it.
  int64_t total() const { return dense() + engram_tables; }
  // All but the tables: what every rank holds and AdamW updates.
  int64_t dense() const;
  // Routed experts that a token does not use, and the tables: capacity that costs no FLOPs.
  int64_t sparse() const { return routed_experts - active_routed_experts + engram_tables; }
  // Used by every token in a matrix product or norm; embedding, tables and head are not counted, as in the published
  // figures of arXiv:2601.07372.
  int64_t active() const;
};

ParameterCount count_parameters(const ModelConfig& config);

// Rows of each Engram layer's table, in the order of config.engram.layers.
std::vector<int64_t> table_rows(const ModelConfig& config);

// Floating-point operations of training one token: forward and twice that for backward, nothing for recompute. Matrix
// products count 2 per multiply-add; causal attention counts half of the square; norms, softmax and activations are
// left out, Engram's gate (12 hidden per stream) and convolution (24 hidden per stream) are not.
double training_flops_per_token(const ModelConfig& config, int64_t seq_len);

}  // namespace engram
