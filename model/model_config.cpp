#include "model/model_config.h"

#include <fmt/format.h>

#include <algorithm>

namespace engram {
namespace {

bool strictly_ascending(const std::vector<int64_t>& values) {
  return std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) == values.end();
}

bool has_gap(const std::vector<int64_t>& orders) {
  for (size_t i = 0; i < orders.size(); ++i) {
    if (orders[i] != static_cast<int64_t>(i) + 2) return true;
  }
  return orders.empty();
}

}  // namespace

ConfigProblems validate(const AttentionConfig& c) {
  ConfigProblems problems = range_problems(c);
  if (c.num_heads < 1 || c.num_kv_heads < 1) return problems;
  if (c.kind == AttentionKind::kMla) {
    if (c.num_kv_heads != c.num_heads) {
      problems.push_back(
          {{"num_kv_heads", "num_heads", "kind"},
           fmt::format("{} key-value heads with mla; wanted as many as query heads, {}", c.num_kv_heads, c.num_heads)});
    }
    return problems;
  }
  if (c.num_heads % c.num_kv_heads != 0) {
    problems.push_back({{"num_kv_heads", "num_heads"},
                        fmt::format("{} key-value heads do not divide {} query heads", c.num_kv_heads, c.num_heads)});
  }
  if (c.head_dim % 2 != 0) {
    problems.push_back(
        {{"head_dim"}, fmt::format("{} is odd; rotary positions pair the channels of a head", c.head_dim)});
  }
  return problems;
}

ConfigProblems validate(const MoeConfig& c) {
  ConfigProblems problems = range_problems(c);
  if (c.num_experts <= 0) return problems;
  if (c.top_k > c.num_experts) {
    problems.push_back({{"top_k", "num_experts"},
                        fmt::format("{} active experts of {} routed ones; wanted at most as many as there are", c.top_k,
                                    c.num_experts)});
  }
  if (c.expert_hidden == 0) {
    problems.push_back({{"expert_hidden", "num_experts"},
                        fmt::format("0 with num_experts {}; wanted the width of an expert", c.num_experts)});
  }
  if (c.shared_hidden > 0 && c.num_shared_experts == 0) {
    problems.push_back({{"shared_hidden", "num_shared_experts"},
                        fmt::format("{} without shared experts; wanted num_shared_experts above 0", c.shared_hidden)});
  }
  return problems;
}

ConfigProblems validate(const EngramConfig& c) {
  ConfigProblems problems = range_problems(c);
  if (!strictly_ascending(c.layers)) {
    problems.push_back({{"layers"}, number_text(c.layers) + "; wanted ascending layers, each once"});
  }
  if (has_gap(c.orders)) problems.push_back({{"orders"}, number_text(c.orders) + "; wanted 2, 3, .. without a gap"});
  if (!c.enabled()) return problems;
  const int64_t columns = c.num_columns();
  if (c.memory_dim == 0) {
    problems.push_back({{"memory_dim", "layers"}, "0 with layers " + number_text(c.layers) + "; wanted a width"});
  } else if (columns > 0 && c.memory_dim % columns != 0) {
    problems.push_back({{"memory_dim", "orders", "heads"},
                        fmt::format("{} is not divisible by orders x heads = {} x {} = {}", c.memory_dim,
                                    c.orders.size(), c.heads, columns)});
  }
  if (c.fusion == MemoryFusion::kMean && c.conv) {
    problems.push_back({{"conv", "fusion"}, "true with fusion mean, which has no value of its own to convolve"});
  }
  if (c.rows_per_head.size() != 1 && c.rows_per_head.size() != c.orders.size()) {
    problems.push_back({{"rows_per_head", "orders", "layers"},
                        fmt::format("{} has {} sizes; wanted 1, or one for each of {} orders",
                                    number_text(c.rows_per_head), c.rows_per_head.size(), c.orders.size())});
  }
  return problems;
}

std::string unpublished_part(const EngramConfig& c) {
  if (!c.enabled()) return "";
  if (!c.gated()) return fmt::format("fusion {}, wanted gate", enum_name(c.fusion));
  if (c.addressing != Addressing::kHash) return fmt::format("addressing {}, wanted hash", enum_name(c.addressing));
  return c.compression ? "" : "compression false, wanted true";
}

ConfigProblems validate(const ConnectionsConfig& c) {
  ConfigProblems problems = range_problems(c);
  if (c.kind == ConnectionKind::kResidual && c.streams != 1) {
    problems.push_back({{"streams", "kind"}, fmt::format("{} streams with kind residual; wanted 1", c.streams)});
  }
  return problems;
}

namespace {

// Rules that need more than one of the structs in a model.
void add_layer_problems(const ModelConfig& c, ConfigProblems& problems) {
  if (c.has_dense_layers() && c.ffn_hidden == 0) {
    problems.push_back(
        {{"ffn_hidden", "num_dense_layers", "moe.num_experts"}, "0 in a model with dense layers; wanted their width"});
  }
  if (c.num_layers < 1) return;
  if (c.moe.num_experts > 0 && c.num_dense_layers >= c.num_layers) {
    problems.push_back({{"num_dense_layers", "num_layers", "moe.num_experts"},
                        fmt::format("{} of {} layers are dense, which leaves none for {} experts", c.num_dense_layers,
                                    c.num_layers, c.moe.num_experts)});
  }
  for (const int64_t layer : c.engram.layers) {
    if (layer < c.num_layers) continue;
    problems.push_back(
        {{"engram.layers", "num_layers"},
         fmt::format("layer {} in a model of {}; wanted 0 to {}", layer, c.num_layers, c.num_layers - 1)});
  }
  if (c.engram.enabled() && !c.engram.gated() && c.connections.streams != 1) {
    problems.push_back(
        {{"connections.streams", "engram.fusion"},
         fmt::format("{} without a gate, which divides the value among them; wanted 1", c.connections.streams)});
  }
  if (c.engram.enabled() && c.vocab_size > 0 && c.engram.pad_token >= c.vocab_size) {
    problems.push_back({{"engram.pad_token", "vocab_size"},
                        fmt::format("{} is no token of a vocabulary of {}", c.engram.pad_token, c.vocab_size)});
  }
}

}  // namespace

ConfigProblems validate(const ModelConfig& c) {
  ConfigProblems problems;
  // Only this struct's own fields: the nested ones follow with their rules.
  for (ConfigProblem& problem : range_problems(c)) {
    if (problem.keys[0].find('.') == std::string::npos) problems.push_back(std::move(problem));
  }
  append_problems(problems, "attention", validate(c.attention));
  append_problems(problems, "moe", validate(c.moe));
  append_problems(problems, "engram", validate(c.engram));
  append_problems(problems, "connections", validate(c.connections));
  add_layer_problems(c, problems);
  return problems;
}

ConfigProblems unsupported_for_training(const ModelConfig& c) {
  ConfigProblems problems;
  if (c.attention.kind == AttentionKind::kMla) {
    problems.push_back({{"attention.kind"}, "mla is known to `estimate` alone; training wants gqa"});
  }
  if (c.connections.kind == ConnectionKind::kMhc) {
    problems.push_back({{"connections.kind"}, "mhc is known to `estimate` alone; training wants residual"});
  }
  return problems;
}

}  // namespace engram
