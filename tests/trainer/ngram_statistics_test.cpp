#include "trainer/ngram_statistics.h"

#include <cmath>
#include <map>
#include <set>

#include "model/memory_addresses.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/explain.h"

namespace engram {
namespace {

struct NgramStatisticsTest : ::testing::Test {
  RunConfig config = test::tiny_run();
  RunTokenizer tokenizer = load();

  RunTokenizer load() {
    config.model.vocab_size = 8192;
    config.model.engram.orders = {2, 3};
    config.model.engram.rows_per_head = {60};
    config.data.tokenizer = std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json";
    return load_tokenizer(config);
  }

  // One sample of that text, whose look-back is of another document.
  Batch batch_of(const Explanation& text) const {
    const int64_t history = config.model.engram.max_order() - 1;
    Batch batch;
    batch.num_samples = 1;
    batch.history = history;
    batch.seq_len = std::ssize(text.tokens);
    batch.tokens.assign(static_cast<size_t>(history), 77);
    batch.starts.assign(static_cast<size_t>(history), 0);
    batch.tokens.insert(batch.tokens.end(), text.tokens.begin(), text.tokens.end());
    batch.starts.insert(batch.starts.end(), text.starts.begin(), text.starts.end());
    batch.tokens.push_back(0);  // the last target
    batch.starts.push_back(0);
    return batch;
  }

  // The keys in front of and at a position, as hashing sees them.
  std::vector<int32_t> ngram_at(const Explanation& text, int64_t position, int64_t order) const {
    std::vector<int32_t> keys;
    bool is_seen = true;
    for (int64_t back = 0; back < order; ++back) {
      const auto at = static_cast<size_t>(position - back);
      keys.push_back(is_seen ? text.keys[at] : tokenizer.vocabulary.key_of(config.model.engram.pad_token));
      is_seen = is_seen && text.starts[at] == 0;
    }
    return keys;
  }
};

TEST_F(NgramStatisticsTest, CountsAreThoseOfAMapFromRowsToNgrams) {
  std::string text;
  for (int i = 0; i < 6; ++i) {
    text += "the history of Rome and the history of Greece, " + std::to_string(i * i * 7919) + "<|endoftext|>";
  }
  const Explanation e = explain(tokenizer.tokenizer.encode(text), tokenizer, config.model.engram);
  const NgramStatistics got = ngram_statistics(batch_of(e), config.model.engram, tokenizer);
  const int64_t heads = config.model.engram.heads, num_columns = e.layout.num_columns();
  EXPECT_EQ(got.num_tokens, std::ssize(e.tokens));
  ASSERT_EQ(std::ssize(got.heads), std::ssize(e.layout.layers) * num_columns);
  int64_t num_collisions = 0;
  for (size_t i = 0; i < got.heads.size(); ++i) {
    const NgramStatistics::Head& head = got.heads[i];
    const auto layer = i / static_cast<size_t>(num_columns);
    const auto column = static_cast<int64_t>(i) % num_columns;
    std::map<int64_t, std::set<std::vector<int32_t>>> ngrams_of;
    std::set<std::vector<int32_t>> distinct;
    for (int64_t t = 0; t < std::ssize(e.tokens); ++t) {
      const auto ngram = ngram_at(e, t, head.order);
      ngrams_of[e.rows[layer][static_cast<size_t>(t * num_columns + column)]].insert(ngram);
      distinct.insert(ngram);
    }
    int64_t num_sharing = 0;
    for (const auto& [row, ngrams] : ngrams_of) num_sharing += ngrams.size() > 1 ? std::ssize(ngrams) : 0;
    EXPECT_EQ(head.layer, e.layout.layers[layer].layer);
    EXPECT_EQ(head.order, column / heads + 2);
    EXPECT_EQ(head.head, column % heads);
    EXPECT_EQ(head.num_rows, e.layout.layers[layer].primes[static_cast<size_t>(column)]);
    EXPECT_EQ(got.num_distinct[static_cast<size_t>(head.order - 2)], std::ssize(distinct));
    EXPECT_EQ(head.num_touched, std::ssize(ngrams_of));
    EXPECT_EQ(head.num_sharing, num_sharing);
    num_collisions += num_sharing;
  }
  EXPECT_GT(num_collisions, 0);  // or nothing was compared
}

TEST_F(NgramStatisticsTest, TextShowsSharesBesideThoseOfAnEvenHash) {
  const NgramStatistics s{
      .num_tokens = 200,
      .num_distinct = {100},
      .heads = {{.layer = 3, .order = 2, .head = 1, .num_rows = 50, .num_touched = 40, .num_sharing = 90}}};
  // Of 50 rows 100 even draws leave (1 - 1/50)^100 = 13.26 %; 99 others share a row with 1 - (1 - 1/50)^99 = 86.47 %.
  EXPECT_EQ(ngram_statistics_text(s),
            "200 tokens\n"
            "order 2: 100 distinct n-grams, 50.00 % of the tokens\n"
            "\n"
            "layer order head         rows n-grams each  never touched  if even  n-grams that share  if even\n"
            "    3     2    1           50        2.000        20.00 %  13.26 %             90.00 %  86.47 %\n");
}

TEST_F(NgramStatisticsTest, FieldsAreListsByLayerOrderAndHead) {
  NgramStatistics s{.num_tokens = 200, .num_distinct = {100, 5}, .heads = {}};
  for (const int64_t layer : {1, 7}) {
    for (const int64_t order : {2, 3}) {
      for (const int64_t head : {0, 1}) {
        s.heads.push_back({.layer = layer, .order = order, .head = head, .num_rows = 50, .num_sharing = layer + head});
      }
    }
  }
  const EventFields fields = ngram_fields(s);
  ASSERT_EQ(fields.size(), 6u);
  EXPECT_EQ(fields[0], (EventFields::value_type{"tokens", int64_t{200}}));
  EXPECT_EQ(fields[1], (EventFields::value_type{"orders", std::vector<int64_t>{2, 3}}));
  EXPECT_EQ(fields[2], (EventFields::value_type{"layers", std::vector<int64_t>{1, 7}}));
  EXPECT_EQ(fields[3], (EventFields::value_type{"distinct", std::vector<int64_t>{100, 5}}));
  const HeadValues sharing{{{0.01, 0.02}, {0.2, 0.4}}, {{0.07, 0.08}, {1.4, 1.6}}};
  EXPECT_EQ(fields[4], (EventFields::value_type{"sharing", sharing}));
  EXPECT_EQ(fields[5].first, "sharing_if_even");
  for (const auto& layer : std::get<HeadValues>(fields[5].second)) {
    ASSERT_EQ(layer.size(), 2u);
    for (const double share : layer[0]) EXPECT_NEAR(share, 1 - std::pow(0.98, 99), 1e-15);
    for (const double share : layer[1]) EXPECT_NEAR(share, 1 - std::pow(0.98, 4), 1e-15);
  }
}

TEST_F(NgramStatisticsTest, ModelsWithoutNgramsAreRefused) {
  const Explanation e = explain(tokenizer.tokenizer.encode("a b c"), tokenizer, config.model.engram);
  const Batch batch = batch_of(e);
  config.model.engram.addressing = Addressing::kConstant;
  EXPECT_NE(test::error_of([&] { ngram_statistics(batch, config.model.engram, tokenizer); }).find("addressing"),
            std::string::npos);
  config.model.engram.layers = {};
  EXPECT_NE(test::error_of([&] { ngram_statistics(batch, config.model.engram, tokenizer); }).find("layers is empty"),
            std::string::npos);
}

}  // namespace
}  // namespace engram
