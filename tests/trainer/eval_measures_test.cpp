#include "trainer/eval_measures.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr int64_t kVocabulary = 100;

const EvalMeasure& named(const std::vector<EvalMeasure>& measures, const std::string& name) {
  for (const EvalMeasure& measure : measures) {
    if (measure.name == name) return measure;
  }
  throw Error("no measure " + name);
}

TEST(EvalMeasures, LossIsOverTokensAndOverBytes) {
  const std::vector<ScoredItem> items{{.texts = {{.nats = 30, .num_tokens = 10, .num_bytes = 40}}},
                                      {.texts = {{.nats = 6, .num_tokens = 2, .num_bytes = 5}}}};
  const auto got = measures_of(EvalKind::kLoss, items, kVocabulary);
  EXPECT_DOUBLE_EQ(named(got, "nats_per_token").value, 3);
  EXPECT_DOUBLE_EQ(named(got, "nats_per_token").chance, std::log(100));
  EXPECT_EQ(named(got, "nats_per_token").method, "bootstrap");
  EXPECT_DOUBLE_EQ(named(got, "bits_per_byte").value, 36 / 45.0 / std::log(2));
  EXPECT_DOUBLE_EQ(named(got, "bits_per_byte").chance, 12 * std::log2(100) / 45);
  EXPECT_NEAR(named(got, "bits_per_byte").interval.low, 30 / 40.0 / std::log(2), 1e-12);
  EXPECT_NEAR(named(got, "bits_per_byte").interval.high, 6 / 5.0 / std::log(2), 1e-12);
}

TEST(EvalMeasures, ALastWordIsRightWhereAllItsTokensComeFirst) {
  const std::vector<ScoredItem> items{{.texts = {{.nats = 1, .num_tokens = 1, .worst_rank = 1}}},
                                      {.texts = {{.nats = 3, .num_tokens = 2, .worst_rank = 2}}}};
  const auto got = measures_of(EvalKind::kLastWord, items, kVocabulary);
  EXPECT_DOUBLE_EQ(named(got, "accuracy").value, 0.5);
  EXPECT_DOUBLE_EQ(named(got, "accuracy").chance, (1 / 100.0 + 1 / 10000.0) / 2);
  EXPECT_DOUBLE_EQ(named(got, "accuracy").interval.high, wilson_interval(1, 2).high);
  EXPECT_NEAR(named(got, "perplexity").value, std::exp(2), 1e-12);
  EXPECT_NEAR(named(got, "perplexity").chance, std::exp(1.5 * std::log(100)), 1e-9);
}

TEST(EvalMeasures, ChoicesAreComparedRawAndByBytes) {
  const TextScore brief{.nats = 4, .num_tokens = 1, .num_bytes = 2}, wordy{.nats = 9, .num_tokens = 3, .num_bytes = 9};
  const std::vector<ScoredItem> items{{.texts = {brief, wordy}, .answer = 0},         // raw: right, by bytes: wrong
                                      {.texts = {wordy, wordy, brief}, .answer = 0},  // the other way round; a tie
                                      {.texts = {wordy, wordy, brief}, .answer = 1}};
  const auto got = measures_of(EvalKind::kChoice, items, kVocabulary);
  EXPECT_DOUBLE_EQ(named(got, "accuracy").value, 1 / 3.0);
  EXPECT_DOUBLE_EQ(named(got, "accuracy_norm").value, 1 / 3.0);
  EXPECT_DOUBLE_EQ(named(got, "accuracy").chance, (1 / 2.0 + 1 / 3.0 + 1 / 3.0) / 3);
  EXPECT_EQ(named(got, "accuracy").method, "wilson");
  EXPECT_DOUBLE_EQ(measures_of(EvalKind::kChoice, std::span(items).first(1), kVocabulary)[0].value, 1);
  EXPECT_DOUBLE_EQ(measures_of(EvalKind::kChoice, std::span(items).subspan(1, 1), kVocabulary)[1].value, 1);
}

TEST(EvalMeasures, FactsCountByTheirWorstToken) {
  const std::vector<ScoredItem> items{{.texts = {{.nats = 1, .num_tokens = 1, .worst_rank = 1}}},
                                      {.texts = {{.nats = 2, .num_tokens = 1, .worst_rank = 10}}},
                                      {.texts = {{.nats = 2, .num_tokens = 2, .worst_rank = 11}}}};
  const auto got = measures_of(EvalKind::kCloze, items, kVocabulary);
  EXPECT_DOUBLE_EQ(named(got, "p_at_1").value, 1 / 3.0);
  EXPECT_DOUBLE_EQ(named(got, "p_at_10").value, 2 / 3.0);
  EXPECT_DOUBLE_EQ(named(got, "p_at_10").chance, (0.1 + 0.1 + 0.01) / 3);
  EXPECT_DOUBLE_EQ(named(got, "nats_per_token").value, 5 / 4.0);
  EXPECT_DOUBLE_EQ(named(measures_of(EvalKind::kCloze, items, 5), "p_at_10").chance, 1);
}

}  // namespace
}  // namespace engram
