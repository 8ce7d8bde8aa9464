#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "model/accounting.h"
#include "tests/golden.h"
#include "trainer/config.h"

namespace engram {
namespace {

RunConfig bench_config(const std::string& name) {
  return load_config(std::string(ENGRAM_SOURCE_DIR) + "/configs/bench/" + name + ".yaml", {});
}

// Multiply-adds of a token in weights, in forward.
double products(const ModelConfig& c) {
  const ParameterCount n = count_parameters(c);
  return static_cast<double>(n.active() - n.norms - n.engram_conv + c.vocab_size * c.hidden);
}

// What the tables of reference models say, to their printed digits.
struct Reference {
  std::string name;
  double billions;         // parameters
  double active_millions;  // in matrix products; 0 = not printed
  double gigaflops;        // of training a token
  int64_t tokens_per_step = 0;
};

TEST(BenchConfig, HasTheSizesOfTheReferenceModels) {
  const std::vector<Reference> references = {
      {.name = "a", .billions = 0.537, .active_millions = 101.3, .gigaflops = 0.721, .tokens_per_step = 65536},
      {.name = "b", .billions = 2.000, .active_millions = 324.5, .gigaflops = 2.249, .tokens_per_step = 32768},
      {.name = "c", .billions = 7.863, .active_millions = 1228, .gigaflops = 8.575, .tokens_per_step = 65536},
      {.name = "a_mha", .billions = 0.546, .active_millions = 110.7, .gigaflops = 0.777, .tokens_per_step = 65536},
      {.name = "b_mha", .billions = 2.038, .active_millions = 362.3, .gigaflops = 2.476, .tokens_per_step = 32768},
      {.name = "c_mha", .billions = 8.014, .active_millions = 1379, .gigaflops = 9.481, .tokens_per_step = 65536},
      {.name = "dense_124m", .billions = 0.135, .active_millions = 110.1, .gigaflops = 0.774, .tokens_per_step = 65536},
      {.name = "tiny", .billions = 0.104, .active_millions = 0, .gigaflops = 0.122, .tokens_per_step = 65536}};
  for (const Reference& want : references) {
    const RunConfig config = bench_config(want.name);
    const int64_t total = count_parameters(config.model).total();
    EXPECT_NEAR(static_cast<double>(total) / 1e9, want.billions, 0.0005) << want.name;
    if (want.active_millions > 0) {
      const double digit = want.active_millions < 1000 ? 0.05 : 0.5;
      EXPECT_NEAR(products(config.model) / 1e6, want.active_millions, digit) << want.name;
    }
    EXPECT_NEAR(training_flops_per_token(config.model, config.data.seq_len) / 1e9, want.gigaflops, 0.0005) << want.name;
    EXPECT_EQ(config.train.global_batch * config.data.seq_len, want.tokens_per_step) << want.name;
  }
}

// GELU and learned positions have no equal here: the sizes agree within one per cent.
TEST(BenchConfig, IsCloseToGpt2Xl) {
  const RunConfig config = bench_config("dense_1_5b");
  EXPECT_NEAR(static_cast<double>(count_parameters(config.model).total()) / 1.56e9, 1, 0.01);
  EXPECT_NEAR(products(config.model) / 1.555e9, 1, 0.01);
  EXPECT_NEAR(training_flops_per_token(config.model, config.data.seq_len) / 9.80e9, 1, 0.01);
}

TEST(BenchConfig, TablesTakeThePlaceOfTwelveExperts) {
  for (const std::string name : {"a", "b", "c", "a_mha", "b_mha", "c_mha", "tiny"}) {
    const RunConfig without = bench_config(name), with = bench_config(name + "_engram");
    EXPECT_EQ(without.model.moe.num_experts, 64) << name;
    EXPECT_EQ(with.model.moe.num_experts, 52) << name;
    const auto total = static_cast<double>(count_parameters(without.model).total());
    EXPECT_NEAR(static_cast<double>(count_parameters(with.model).total()) / total, 1, 1e-3) << name;
    EXPECT_EQ(with.train.global_batch, without.train.global_batch) << name;
    EXPECT_EQ(with.model.attention.num_kv_heads, without.model.attention.num_kv_heads) << name;
    EXPECT_TRUE(validate(with).empty() && validate(without).empty()) << name;
  }
  const RunConfig tiny = bench_config("tiny_engram");
  EXPECT_NEAR(training_flops_per_token(tiny.model, tiny.data.seq_len) / 1e9, 0.126, 0.0005);
}

// As the PyTorch peer counts them (tests/scripts/peer_configuration_test.py).
TEST(BenchConfig, HasTheFlopsThatThePeerCounts) {
  const auto flops = test::golden("bench_flops.json");
  size_t num_files = 0;
  for (const auto& file : std::filesystem::directory_iterator(ENGRAM_SOURCE_DIR "/configs/bench")) {
    const std::string name = file.path().stem();
    const RunConfig config = bench_config(name);
    const double want = flops.at(name);
    EXPECT_NEAR(training_flops_per_token(config.model, config.data.seq_len) / want, 1, 1e-9) << name;
    ++num_files;
  }
  EXPECT_EQ(num_files, flops.size());
}

}  // namespace
}  // namespace engram
