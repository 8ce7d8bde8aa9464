#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "trainer/config.h"

namespace engram::test {

// The smallest valid configuration; each line is a section, so that tests can name places.
inline constexpr std::string_view kSmallConfig = R"(model:
  vocab_size: 8192
  hidden: 64
  num_layers: 2
  ffn_hidden: 128
  attention: {num_heads: 4, num_kv_heads: 2, head_dim: 16}
  moe: {num_experts: 4, top_k: 2, expert_hidden: 32}
  engram: {layers: [1], memory_dim: 64, rows_per_head: 1000, heads: 4}
train: {steps: 100, global_batch: 8}
)";

inline RunConfig small_config(const std::vector<std::string>& overrides = {}) {
  return parse_config(kSmallConfig, "small.yaml", overrides);
}

// The message of the ConfigError that `call` throws; "" where it throws none.
template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return {};
}

// What is said to `text` as a file called c.yaml.
inline std::string refused_file(std::string_view text) {
  return refusal([&] { parse_config(text, "c.yaml"); });
}

// What is said to overrides of the small configuration.
inline std::string refused_set(const std::vector<std::string>& overrides) {
  return refusal([&] { small_config(overrides); });
}

}  // namespace engram::test
