#include "model/accounting.h"

#include "model/memory_addresses.h"

namespace engram {
namespace {

int64_t attention_parameters(const ModelConfig& c) {
  const AttentionConfig& a = c.attention;
  if (a.kind == AttentionKind::kGqa) return 2 * c.hidden * a.head_dim * (a.num_heads + a.num_kv_heads);
  return c.hidden * a.num_heads * (a.head_dim + a.rope_head_dim)      // queries
         + c.hidden * (a.kv_rank + a.rope_head_dim)                   // compressed keys and values
         + a.kv_rank * a.num_heads * (a.head_dim + a.value_head_dim)  // keys and values from them
         + a.num_heads * a.value_head_dim * c.hidden;                 // output
}

// Width over which a head multiplies queries with keys, plus that of its values.
int64_t attention_width(const AttentionConfig& a) {
  return a.kind == AttentionKind::kGqa ? 2 * a.head_dim : a.head_dim + a.rope_head_dim + a.value_head_dim;
}

// The dynamic mappings of a hyper-connection: from all streams to pre, post and residual weights, with their biases
// and three gates (arXiv:2512.24880).
int64_t hyper_connection_parameters(int64_t streams, int64_t hidden) {
  const int64_t outputs = 2 * streams + streams * streams;
  return streams * hidden * outputs + outputs + 3;
}

void count_engram(const ModelConfig& c, ParameterCount& count) {
  if (!c.engram.enabled()) return;
  const auto num_modules = static_cast<int64_t>(c.engram.layers.size());
  const int64_t streams = c.connections.streams;
  for (const int64_t rows : table_rows(c)) count.engram_tables += rows * c.engram.row_width();
  const int64_t keys = c.engram.gated() ? streams : 0, gains = (c.engram.gated() ? 2 : 0) + (c.engram.conv ? 1 : 0);
  count.engram_projections = num_modules * (keys + 1) * c.hidden * c.engram.memory_dim;
  count.norms += num_modules * streams * c.hidden * gains;
  if (c.engram.conv) count.engram_conv = num_modules * streams * c.hidden * kEngramConvTaps;
}

}  // namespace

int64_t ParameterCount::dense() const {
  return embedding + head + attention + dense_feed_forward + shared_experts + routed_experts + router +
         engram_projections + engram_conv + norms + connections;
}

int64_t ParameterCount::active() const {
  return attention + dense_feed_forward + shared_experts + active_routed_experts + router + engram_projections +
         engram_conv + norms + connections;
}

std::vector<int64_t> table_rows(const ModelConfig& config) {
  if (!config.engram.enabled()) return {};
  return rows_per_table(make_ngram_layout(config.engram, 1));  // the vocabulary moves the multipliers, not the primes
}

ParameterCount count_parameters(const ModelConfig& c) {
  const int64_t moe_layers = c.num_mixtures(), dense_layers = c.num_layers - moe_layers;
  const int64_t expert = 3 * c.hidden * c.moe.expert_hidden;
  ParameterCount count;
  count.embedding = c.vocab_size * c.hidden;
  count.head = c.tie_embeddings ? 0 : c.vocab_size * c.hidden;
  count.attention = c.num_layers * attention_parameters(c);
  count.dense_feed_forward = dense_layers * 3 * c.hidden * c.ffn_hidden;
  count.shared_experts = moe_layers * 3 * c.hidden * c.moe.shared_width();
  count.routed_experts = moe_layers * c.moe.num_experts * expert;
  count.active_routed_experts = moe_layers * c.moe.top_k * expert;
  count.router = moe_layers * c.moe.num_experts * c.hidden;
  count.norms = (2 * c.num_layers + 1) * c.hidden + (c.attention.qk_norm ? 2 * c.num_layers * c.attention.head_dim : 0);
  if (c.connections.kind == ConnectionKind::kMhc) {
    count.connections = 2 * c.num_layers * hyper_connection_parameters(c.connections.streams, c.hidden);
  }
  count_engram(c, count);
  return count;
}

double training_flops_per_token(const ModelConfig& c, int64_t seq_len) {
  const ParameterCount count = count_parameters(c);
  const int64_t in_products = count.active() - count.norms - count.engram_conv + c.vocab_size * c.hidden;
  const double attention = 6.0 * static_cast<double>(c.num_layers * c.attention.num_heads) *
                           static_cast<double>(attention_width(c.attention)) * static_cast<double>(seq_len) / 2;
  const auto modules = static_cast<double>(c.engram.layers.size());
  const double per_channel = (c.engram.gated() ? 12.0 : 0.0) + (c.engram.conv ? 24.0 : 0.0);
  const double engram = modules * per_channel * static_cast<double>(c.connections.streams * c.hidden);
  return 6.0 * static_cast<double>(in_products) + attention + engram;
}

}  // namespace engram
