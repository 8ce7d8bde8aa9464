#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/trainer/config_testing.h"
#include "trainer/sweep_plan.h"

namespace engram::test {

// A sweep of four ratios over a model small enough to be counted by hand.
inline constexpr std::string_view kSmallSweep = R"(sweep:
  ratios: [0, 0.5, 0.75, 1]
  seeds: [3, 4]
  tokens: [16384]
  width_step: 2
  memory_gib: 1
model:
  vocab_size: 512
  hidden: 32
  num_layers: 2
  num_dense_layers: 0
  attention: {num_heads: 2, num_kv_heads: 2, head_dim: 16}
  moe: {num_experts: 22, top_k: 2, num_shared_experts: 1, expert_hidden: 16, shared_hidden: 64}
  engram: {layers: [1], heads: 2, memory_dim: 16, rows_per_head: 100, conv: true}
data: {seq_len: 64}
run: {name: small}
train: {steps: 1, global_batch: 4, micro_batch: 4}
)";

inline SweepFile small_sweep(const std::vector<std::string>& overrides = {}) {
  return parse_sweep(kSmallSweep, "small.yaml", overrides);
}

// What the planner says to the small sweep with these overrides.
inline std::string refused_plan(const std::vector<std::string>& overrides) {
  return refusal([&] { make_plan(small_sweep(overrides)); });
}

}  // namespace engram::test
