#include "model/model_config.h"

#include <gtest/gtest.h>

#include <functional>

#include "kernels/core/check.h"

namespace engram {
namespace {

ModelConfig valid_model() {
  ModelConfig model;
  model.vocab_size = 1000;
  model.hidden = 64;
  model.num_layers = 4;
  model.ffn_hidden = 128;
  model.attention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16};
  model.moe = {.num_experts = 8, .top_k = 2, .num_shared_experts = 1, .expert_hidden = 32};
  model.engram.layers = {1, 3};
  model.engram.memory_dim = 64;
  model.engram.rows_per_head = {100};
  return model;
}

TEST(ModelConfig, ValidOnesPass) {
  EXPECT_TRUE(validate(valid_model()).empty());
  ModelConfig model = valid_model();
  model.engram = {};
  EXPECT_TRUE(validate(model).empty());
  model.moe = {};  // dense
  EXPECT_TRUE(validate(model).empty());
  EXPECT_FALSE(model.is_moe_layer(3));
  EXPECT_TRUE(unsupported_for_training(model).empty());
  EXPECT_NO_THROW(throw_problems("model", validate(model)));
}

struct Rule {
  std::function<void(ModelConfig&)> change;
  const char* key;
  const char* want;
};

// What each rule says, and about which key, when one field of a valid model is broken.
const Rule kRules[] = {
    {[](auto& m) { m.attention.num_kv_heads = 3; }, "attention.num_kv_heads",
     "3 key-value heads do not divide 4 query heads"},
    {[](auto& m) { m.attention.head_dim = 15; }, "attention.head_dim", "15 is odd"},
    {[](auto& m) { m.attention.kind = AttentionKind::kMla; }, "attention.num_kv_heads", "2 key-value heads with mla"},
    {[](auto& m) { m.attention.num_heads = 0; }, "attention.num_heads", "0 is outside [1, 65536]"},
    {[](auto& m) { m.moe.top_k = 9; }, "moe.top_k", "9 active experts of 8 routed ones"},
    {[](auto& m) { m.moe.expert_hidden = 0; }, "moe.expert_hidden", "0 with num_experts 8"},
    {[](auto& m) {
       m.moe.num_shared_experts = 0;
       m.moe.shared_hidden = 8;
     },
     "moe.shared_hidden", "8 without shared experts"},
    {[](auto& m) { m.engram.memory_dim = 72; }, "engram.memory_dim",
     "72 is not divisible by orders x heads = 2 x 8 = 16"},
    {[](auto& m) { m.engram.memory_dim = 0; }, "engram.memory_dim", "0 with layers [1, 3]"},
    {[](auto& m) {
       m.engram.layers = {1, 4};
     },
     "engram.layers", "layer 4 in a model of 4; wanted 0 to 3"},
    {[](auto& m) {
       m.engram.layers = {1, 1};
     },
     "engram.layers", "[1, 1]; wanted ascending layers, each once"},
    {[](auto& m) {
       m.engram.layers = {3, 1};
     },
     "engram.layers", "[3, 1]; wanted ascending"},
    {[](auto& m) { m.engram.layers = {-1}; }, "engram.layers", "-1 is outside [0, 100000]"},
    {[](auto& m) {
       m.engram.orders = {2, 2};
     },
     "engram.orders", "[2, 2]; wanted 2, 3, .. without a gap"},
    {[](auto& m) {
       m.engram.orders = {2, 4};
     },
     "engram.orders", "[2, 4]; wanted 2, 3"},
    {[](auto& m) { m.engram.orders = {}; }, "engram.orders", "[]; wanted 2, 3"},
    {[](auto& m) { m.engram.rows_per_head = {}; }, "engram.rows_per_head", "[] has 0 sizes"},
    {[](auto& m) {
       m.engram.rows_per_head = {5, 6, 7};
     },
     "engram.rows_per_head", "[5, 6, 7] has 3 sizes; wanted 1, or one for each of 2 orders"},
    {[](auto& m) { m.engram.pad_token = 1000; }, "engram.pad_token", "1000 is no token of a vocabulary of 1000"},
    {[](auto& m) { m.connections.streams = 4; }, "connections.streams", "4 streams with kind residual; wanted 1"},
    {[](auto& m) { m.ffn_hidden = 0; }, "ffn_hidden", "0 in a model with dense layers"},
    {[](auto& m) { m.num_dense_layers = 4; }, "num_dense_layers", "4 of 4 layers are dense"},
    {[](auto& m) { m.norm_eps = -1; }, "norm_eps", "-1 is outside [0, 1]"},
    {[](auto& m) { m.norm_eps = std::numeric_limits<double>::quiet_NaN(); }, "norm_eps", "nan is outside [0, 1]"},
    {[](auto& m) { m.engram.eps = 2; }, "engram.eps", "2 is outside [1e-30, 1]"},
    {[](auto& m) { m.engram.conv_eps = 0; }, "engram.conv_eps", "0 is outside [1e-30, 1]"}};

TEST(ModelConfig, EachRule) {
  for (const Rule& c : kRules) {
    ModelConfig model = valid_model();
    c.change(model);
    const ConfigProblems problems = validate(model);
    ASSERT_EQ(problems.size(), 1u) << c.want;
    EXPECT_EQ(problems[0].keys[0], c.key);
    EXPECT_EQ(problems[0].text.find(c.want), 0u) << problems[0].text;
  }
}

TEST(ModelConfig, ThrowProblemsNamesAll) {
  ModelConfig model = valid_model();
  model.moe.top_k = 9;
  model.engram.layers = {7};
  try {
    throw_problems("model configuration", validate(model));
    FAIL() << "must throw";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find("model configuration\nmoe.top_k: 9"), 0u) << message;
    EXPECT_NE(message.find("\nengram.layers: layer 7"), std::string::npos) << message;
  }
}

TEST(ModelConfig, AccountingOnlyKindsAreNamed) {
  ModelConfig model = valid_model();
  model.attention = {.kind = AttentionKind::kMla, .num_heads = 4, .num_kv_heads = 4, .head_dim = 16};
  model.connections = {.kind = ConnectionKind::kMhc, .streams = 4};
  EXPECT_TRUE(validate(model).empty());
  const ConfigProblems problems = unsupported_for_training(model);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].keys[0], "attention.kind");
  EXPECT_EQ(problems[1].keys[0], "connections.kind");
}

TEST(ModelConfig, EngramSizes) {
  EngramConfig engram;
  engram.orders = {2, 3, 4};
  engram.heads = 8;
  engram.memory_dim = 6144;
  engram.rows_per_head = {10};
  EXPECT_EQ(engram.num_columns(), 24);
  EXPECT_EQ(engram.row_width(), 256);
  EXPECT_EQ(engram.max_order(), 4);
  EXPECT_EQ(engram.base_rows(2), 10);
  engram.rows_per_head = {10, 20, 30};
  EXPECT_EQ(engram.base_rows(2), 30);
}

}  // namespace
}  // namespace engram
