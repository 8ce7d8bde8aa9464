#include "model/accounting.h"

#include "model/language_model.h"
#include "tests/testing.h"

namespace engram {
namespace {

// The published backbone of arXiv:2601.07372, Appendix A, with the widths of arXiv:2512.24880 (27B column).
ModelConfig published_backbone() {
  ModelConfig c;
  c.vocab_size = 129280;
  c.hidden = 2560;
  c.num_layers = 30;
  c.num_dense_layers = 1;
  c.ffn_hidden = 12288;
  c.attention = {.kind = AttentionKind::kMla, .num_heads = 32, .num_kv_heads = 32, .head_dim = 128};
  c.connections = {.kind = ConnectionKind::kMhc, .streams = 4};
  return c;
}

ModelConfig with_experts(ModelConfig c, int64_t num_experts) {
  c.moe = {.num_experts = num_experts, .top_k = 6, .num_shared_experts = 2, .expert_hidden = 1536};
  return c;
}

ModelConfig with_memory(ModelConfig c, int64_t rows_per_head) {
  c.engram.layers = {1, 14};
  c.engram.memory_dim = 1280;
  c.engram.rows_per_head = {rows_per_head};
  c.engram.conv = true;
  return c;
}

// The published headline totals count the head but neither the embedding nor what does not change the printed digits.
int64_t headline(const ParameterCount& n) { return n.total() - n.embedding - n.norms - n.engram_conv - n.connections; }
int64_t headline_active(const ParameterCount& n) { return n.active() - n.norms - n.engram_conv - n.connections; }

TEST(Accounting, ReproducesPublishedTotals) {
  ModelConfig dense = published_backbone();
  dense.num_dense_layers = 30;
  const auto dense_4b = count_parameters(dense);
  EXPECT_EQ(headline(dense_4b), 4'118'609'920);
  EXPECT_EQ(headline_active(dense_4b), 3'787'653'120);
  EXPECT_EQ(dense_4b.attention, 956'497'920);
  EXPECT_EQ(dense_4b.connections, 14'747'220);

  const auto moe_27b = count_parameters(with_experts(published_backbone(), 72));
  EXPECT_EQ(headline(moe_27b), 26'702'417'920);
  EXPECT_EQ(headline_active(moe_27b), 3'792'998'400);
  EXPECT_EQ(moe_27b.routed_experts, 24'631'050'240);

  const auto engram_27b = count_parameters(with_memory(with_experts(published_backbone(), 55), 2'262'400));
  EXPECT_EQ(headline(engram_27b), 26'710'597'760);
  EXPECT_EQ(headline_active(engram_27b), 3'824'504'320);
  EXPECT_EQ(engram_27b.engram_tables, 5'792'338'560);
  EXPECT_EQ(engram_27b.engram_conv, 81'920);

  const auto engram_40b = count_parameters(with_memory(with_experts(published_backbone(), 55), 7'239'680));
  EXPECT_EQ(headline(engram_40b), 39'452'570'560);
  EXPECT_EQ(engram_40b.engram_tables, 18'534'311'360);
}

// The 3B and 9B models of arXiv:2512.24880, table 5, with one leading dense layer of eight expert widths.
ModelConfig smaller_published(int64_t num_layers, int64_t hidden, int64_t expert_hidden, int64_t num_heads) {
  ModelConfig c = published_backbone();
  c.num_layers = num_layers;
  c.hidden = hidden;
  c.ffn_hidden = 8 * expert_hidden;
  c.attention.num_heads = c.attention.num_kv_heads = num_heads;
  c.moe = {.num_experts = 64, .top_k = 6, .num_shared_experts = 2, .expert_hidden = expert_hidden};
  return c;
}

TEST(Accounting, ReproducesTheSmallerPublishedModels) {
  const auto three = count_parameters(smaller_published(12, 1280, 896, 16));
  EXPECT_EQ(headline(three), 2'804'465'664);
  EXPECT_EQ(headline_active(three), 443'858'944);
  const auto nine = count_parameters(smaller_published(18, 1920, 1280, 24));
  EXPECT_EQ(headline(nine), 8'923'521'024);
  EXPECT_EQ(headline_active(nine), 1'405'722'624);
}

TEST(Accounting, ReproducesTheTablesOfDeepSeekV41) {
  ModelConfig c = published_backbone();
  c.num_layers = 40;
  c.hidden = 5120;
  c.engram.layers = {1, 14};
  c.engram.orders = {2, 3, 4};
  c.engram.memory_dim = 6144;
  c.engram.rows_per_head = {16'000'000};
  EXPECT_EQ(table_rows(c), (std::vector<int64_t>{384'006'168, 384'016'682}));
  const auto count = count_parameters(c);
  EXPECT_EQ(count.engram_tables, 196'613'849'600);
  EXPECT_EQ(count.engram_projections, 2 * 157'286'400);
}

ModelConfig small_model() {
  ModelConfig c;
  c.vocab_size = 97;
  c.hidden = 24;
  c.num_layers = 3;
  c.num_dense_layers = 1;
  c.ffn_hidden = 40;
  c.attention = {.num_heads = 6, .num_kv_heads = 2, .head_dim = 4, .qk_norm = true};
  c.moe = {.num_experts = 5, .top_k = 2, .num_shared_experts = 1, .expert_hidden = 9};
  c.engram.layers = {0, 2};
  c.engram.heads = 2;
  c.engram.memory_dim = 12;
  c.engram.rows_per_head = {50};
  c.engram.conv = true;
  return c;
}

TEST(Accounting, AgreesWithWhatTheModelRegisters) {
  for (const bool tie : {false, true}) {
    ModelConfig config = small_model();
    config.tie_embeddings = tie;
    config.moe.shared_hidden = tie ? 13 : 0;
    ParameterStore store(DType::kFloat32);
    const LanguageModel model(store, config, {});
    const ParameterCount count = count_parameters(config);
    EXPECT_EQ(store.numel(), count.dense());
    EXPECT_GT(count.engram_tables, 2 * 2 * 2 * 50 * 3);
  }
}

TEST(Accounting, CountsFlopsByHand) {
  ModelConfig c;
  c.vocab_size = 10;
  c.hidden = 4;
  c.num_layers = 2;
  c.ffn_hidden = 8;
  c.attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 2};
  // Per layer: attention 4x4 + 2 * 4x2 + 4x4 = 48, feed-forward 3 * 4 * 8 = 96; head 40.
  // Attention products: 2 layers, 2 heads, 2 (scores and values) * 2 * seq / 2 multiply-adds = 2 * 2 * 2 * 2 * 8 / 2.
  EXPECT_EQ(training_flops_per_token(c, 8), 6.0 * (2 * (48 + 96) + 40) + 6.0 * (2 * 2 * 2 * 2 * 8 / 2));
}

}  // namespace
}  // namespace engram
