#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/engram_gate.h"
#include "model/fields.h"

// The configuration of a model. Layers are counted from zero everywhere. validate() beside each struct returns every
// broken rule (ranges and combinations), with keys relative to that struct.
namespace engram {

enum class AttentionKind { kGqa, kMla };
constexpr auto enum_names(AttentionKind) { return std::array<std::string_view, 2>{"gqa", "mla"}; }

// Segments that n-gram hashing never crosses (spec: blocked look-back).
enum class NgramBoundary { kDocument, kSequence };
constexpr auto enum_names(NgramBoundary) { return std::array<std::string_view, 2>{"document", "sequence"}; }

// Which rows a token reads: those of its n-grams, or, to tell their content from what else the memory brings, those of
// the sequence half a batch away (as often used, but by chance), or always the first of each head.
enum class Addressing { kHash, kShuffled, kConstant };
constexpr auto enum_names(Addressing) { return std::array<std::string_view, 3>{"hash", "shuffled", "constant"}; }

// What a token's value from memory does to the stream: a gate decides how much of it is added; half of it is added
// always; the stream becomes the mean of both (at layer 0 the OverEncoding of arXiv:2501.16975).
enum class MemoryFusion { kGate, kHalf, kMean };
constexpr auto enum_names(MemoryFusion) { return std::array<std::string_view, 3>{"gate", "half", "mean"}; }

// The gate's forms are those of the op (kernels/engram_gate.h).
constexpr auto enum_names(GateForm) { return std::array<std::string_view, 2>{"signed_sqrt", "plain"}; }
constexpr auto enum_names(GateSign) { return std::array<std::string_view, 2>{"sign", "copysign"}; }

enum class ConnectionKind { kResidual, kMhc };
constexpr auto enum_names(ConnectionKind) { return std::array<std::string_view, 2>{"residual", "mhc"}; }

struct AttentionConfig {
  AttentionKind kind = AttentionKind::kGqa;  // mla is for accounting alone
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads; equal to it for mla
  int64_t head_dim = 0;      // per head, even; mla: the part without RoPE
  double rope_theta = 10000.0;
  bool qk_norm = false;
  int64_t kv_rank = 512;         // mla
  int64_t rope_head_dim = 64;    // mla
  int64_t value_head_dim = 128;  // mla
};
ConfigProblems validate(const AttentionConfig& config);

// Experts of the layers from ModelConfig::num_dense_layers on. num_experts = 0: every layer is dense.
struct MoeConfig {
  int64_t num_experts = 0;
  int64_t top_k = 2;
  int64_t num_shared_experts = 0;
  int64_t expert_hidden = 0;  // SwiGLU width of one expert, shared ones too
  int64_t shared_hidden = 0;  // SwiGLU width of all shared experts together; 0 = what num_shared_experts gives
  double route_scale = 1.0;
  double bias_update_rate = 0.001;

  int64_t shared_width() const { return shared_hidden > 0 ? shared_hidden : num_shared_experts * expert_hidden; }
};
ConfigProblems validate(const MoeConfig& config);

inline constexpr int64_t kEngramConvTaps = 4;  // length of the short convolution

// Hashed n-gram memory. `layers` empty = off.
struct EngramConfig {
  std::vector<int64_t> layers;         // strictly ascending
  std::vector<int64_t> orders{2, 3};   // 2, 3, .., N
  int64_t heads = 8;                   // hash heads per order
  int64_t memory_dim = 0;              // width of the whole concatenation over orders and heads
  std::vector<int64_t> rows_per_head;  // base sizes (the next primes are taken): one, or one per order
  int64_t base_seed = 0;
  NgramBoundary boundary = NgramBoundary::kDocument;
  Addressing addressing = Addressing::kHash;
  bool compression = true;  // n-grams of compressed ids; false = of the tokenizer's own
  MemoryFusion fusion = MemoryFusion::kGate;
  GateForm gate = GateForm::kSignedSqrt;
  GateSign gate_sign = GateSign::kSign;
  bool conv = false;
  bool conv_reset = true;  // the convolution restarts where hashing does
  double eps = 1e-6;       // of the norms of query and key; 1e-20 in released models
  double conv_eps = 1e-5;
  double table_init_std = 0.02;
  int64_t pad_token = 0;  // raw token id that fills blocked slots

  bool gated() const { return fusion == MemoryFusion::kGate; }
  bool enabled() const { return !layers.empty(); }
  int64_t max_order() const { return orders.empty() ? 0 : orders.back(); }
  int64_t num_columns() const { return static_cast<int64_t>(orders.size()) * heads; }
  int64_t row_width() const { return memory_dim / num_columns(); }
  // Base size for the order with index `order_idx` in `orders`.
  int64_t base_rows(int64_t order_idx) const {
    return rows_per_head.size() == 1 ? rows_per_head[0] : rows_per_head.at(static_cast<size_t>(order_idx));
  }
};
ConfigProblems validate(const EngramConfig& config);
// What controls of experiments have and released models do not: "fusion mean, wanted gate"; "" where nothing is.
std::string unpublished_part(const EngramConfig& config);

struct ConnectionsConfig {
  ConnectionKind kind = ConnectionKind::kResidual;  // mhc is for accounting alone
  int64_t streams = 1;
};
ConfigProblems validate(const ConnectionsConfig& config);

struct ModelConfig {
  int64_t vocab_size = 0;
  int64_t hidden = 0;
  int64_t num_layers = 0;
  int64_t num_dense_layers = 1;  // leading layers without experts; has no effect where moe.num_experts is 0
  int64_t ffn_hidden = 0;        // SwiGLU width of dense layers
  bool tie_embeddings = false;
  double norm_eps = 1e-6;
  double init_std = 0.02;
  AttentionConfig attention;
  MoeConfig moe;
  EngramConfig engram;
  ConnectionsConfig connections;

  bool is_moe_layer(int64_t layer) const { return moe.num_experts > 0 && layer >= num_dense_layers; }
  int64_t num_mixtures() const {
    return moe.num_experts > 0 && num_layers > num_dense_layers ? num_layers - num_dense_layers : 0;
  }
  // Deviation of the projections back to the residual stream: init_std / sqrt(2 num_layers), as in GPT-2.
  double residual_init_std() const { return init_std / std::sqrt(2.0 * static_cast<double>(num_layers)); }
  bool has_dense_layers() const { return moe.num_experts == 0 || num_dense_layers > 0; }
};
ConfigProblems validate(const ModelConfig& config);

// What accounting knows but no module computes (mla, mhc, several streams), by name; empty = trainable.
ConfigProblems unsupported_for_training(const ModelConfig& config);

template <class Visitor>
void visit_fields(AttentionConfig& c, Visitor&& field) {
  field("kind", c.kind, "grouped-query attention; mla is known to `estimate` only");
  field("num_heads", c.num_heads, required({1, 65536}), "query heads");
  field("num_kv_heads", c.num_kv_heads, required({1, 65536}), "key and value heads; divides num_heads");
  field("head_dim", c.head_dim, required({1, 65536}), "width of a head; even (mla: its part without RoPE)");
  field("rope_theta", c.rope_theta, Range{1, 1e12}, "base of the rotary frequencies");
  field("qk_norm", c.qk_norm, "RMSNorm on each query and key head");
  field("kv_rank", c.kv_rank, Range{1, 65536}, "mla: width of the compressed keys and values");
  field("rope_head_dim", c.rope_head_dim, Range{1, 65536}, "mla: width of the rotary part of a head");
  field("value_head_dim", c.value_head_dim, Range{1, 65536}, "mla: width of a value head");
}

template <class Visitor>
void visit_fields(MoeConfig& c, Visitor&& field) {
  field("num_experts", c.num_experts, Range{0, 1e6}, "routed experts per layer; 0 = dense model");
  field("top_k", c.top_k, Range{1, 1e4}, "routed experts a token goes to");
  field("num_shared_experts", c.num_shared_experts, Range{0, 1e4}, "experts every token goes to");
  field("expert_hidden", c.expert_hidden, Range{0, 1e7}, "SwiGLU width of one expert");
  field("shared_hidden", c.shared_hidden, Range{0, 1e7}, "width of all shared experts; 0 = as the routed ones");
  field("route_scale", c.route_scale, Range{0, 1e3}, "factor on the normalised routing weights");
  field("bias_update_rate", c.bias_update_rate, Range{0, 1}, "step of the balancing bias; 0 = no balancing");
}

template <class Visitor>
void visit_fields(EngramConfig& c, Visitor&& field) {
  field("layers", c.layers, Range{0, 1e5}, "zero-based layers with memory, ascending; [] = none");
  field("orders", c.orders, Range{2, 16}, "n-gram lengths: 2, 3, .. without a gap");
  field("heads", c.heads, Range{1, 1024}, "hash heads per order");
  field("memory_dim", c.memory_dim, Range{0, 1e6}, "width of all rows of a token; a multiple of orders x heads");
  field("rows_per_head", c.rows_per_head, Range{2, 1e12}, "base rows of a head: one, or one per order");
  field("base_seed", c.base_seed, Range{0, kAnyCount}, "seed of the hash multipliers");
  field("boundary", c.boundary, "where n-grams stop looking back");
  field("addressing", c.addressing, "rows of the n-grams; of another sequence; the first of each head");
  field("compression", c.compression, "n-grams of compressed token ids, not of the raw ones");
  field("fusion", c.fusion,
        "adds the value as far as the gate lets it; adds half of it; takes its mean with the stream");
  field("gate", c.gate, "sigmoid of the signed square root of the score, or of the score");
  field("gate_sign", c.gate_sign, "sign of a zero score: 0, or its sign bit");
  field("conv", c.conv, "short convolution after the gate");
  field("conv_reset", c.conv_reset, "the convolution stops where n-grams do");
  field("eps", c.eps, Range{kLeastEpsilon, 1}, "epsilon of the query and key norms");
  field("conv_eps", c.conv_eps, Range{kLeastEpsilon, 1}, "epsilon of the convolution's norm");
  field("table_init_std", c.table_init_std, Range{0, 10}, "deviation of the initial table values");
  field("pad_token", c.pad_token, Range{0, 1e9}, "raw token id that fills missing history");
}

template <class Visitor>
void visit_fields(ConnectionsConfig& c, Visitor&& field) {
  field("kind", c.kind, "plain residual; mhc is known to `estimate` only");
  field("streams", c.streams, Range{1, 64}, "residual streams; 1 for the plain residual");
}

template <class Visitor>
void visit_fields(ModelConfig& c, Visitor&& field) {
  field("vocab_size", c.vocab_size, required({1, 1073741823}), "tokens of the tokenizer");
  field("hidden", c.hidden, required({1, 1e6}), "model width");
  field("num_layers", c.num_layers, required({1, 1e5}), "blocks");
  field("num_dense_layers", c.num_dense_layers, Range{0, 1e5}, "leading layers without experts");
  field("ffn_hidden", c.ffn_hidden, Range{0, 1e7}, "SwiGLU width of dense layers");
  field("tie_embeddings", c.tie_embeddings, "the head shares the embedding's weight");
  field("norm_eps", c.norm_eps, Range{0, 1}, "epsilon of the RMSNorms");
  field("init_std", c.init_std, Range{0, 10}, "deviation of the initial weights");
  field("attention", c.attention, "attention of every layer");
  field("moe", c.moe, "experts of the layers after the dense ones");
  field("engram", c.engram, "hashed n-gram memory");
  field("connections", c.connections, "how blocks join the residual stream");
}

}  // namespace engram
