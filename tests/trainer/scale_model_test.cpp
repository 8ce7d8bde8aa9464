#include "trainer/scale_model.h"

#include <limits>

#include "kernels/core/dtype.h"
#include "tests/data/temporary_directory.h"
#include "tests/trainer/config_testing.h"
#include "tests/trainer/tiny_run.h"

namespace engram {
namespace {

using test::refusal;
using test::tiny_run;

constexpr ScaleRates kRates{.gpus_per_host = 4,
                            .host_bytes_per_second = 317e9,
                            .network_bytes_per_second = 10e9,
                            .message_seconds = 2e-6,
                            .gather = {3e-6, 1e12},
                            .sum = {5e-6, 2e12},
                            .own_sum = {7e-6, 4e12, 1e-9},
                            .flops_per_second = 1e14};

// 16 tables so large that no two n-grams share a row, and so few tokens that their share of distinct ones was measured.
ExchangeCase small_case(int64_t num_ranks) {
  return {.num_ranks = num_ranks,
          .tokens = 4096,
          .rows_per_token = 16,
          .num_rows = int64_t{16} << 40,
          .width = 80,
          .step_flops = 3e12,
          .cover_flops = 0};
}
constexpr double kDistinct = 0.8235 * 4096 * 16;

void expect_near(double got, double want) { EXPECT_NEAR(got / want, 1, 1e-6) << got << " " << want; }

TEST(ScaleModel, InsideAHostTakesWhatWasMeasured) {
  expect_near(all_to_all_seconds(18.6e6, 2, kRates), 97e-6);
  expect_near(all_to_all_seconds(1, 2, kRates), 14.9e-6);
  expect_near(all_to_all_seconds(4 * 536e6, 2, kRates), 4 * 1693e-6);
  ScaleRates half = kRates;
  half.host_bytes_per_second /= 2;
  expect_near(all_to_all_seconds(9.3e6, 2, half), 97e-6);
  const double between = all_to_all_seconds(30e6, 2, kRates);
  EXPECT_GT(between, 97e-6);
  EXPECT_LT(between, 166e-6);
}

TEST(ScaleModel, BetweenHostsEveryPeerGetsAMessage) {
  expect_near(all_to_all_seconds(7e8, 8, kRates), 4 * 2e-6 + 4e8 / 10e9);  // 3 of 7 peers are at home
  ScaleRates lone = kRates;
  lone.gpus_per_host = 1;
  expect_near(all_to_all_seconds(7e8, 8, lone), 7 * 2e-6 + 7e8 / 10e9);
  ScaleRates fast = kRates;
  fast.network_bytes_per_second = 1e15;
  fast.message_seconds = 0;
  expect_near(all_to_all_seconds(18.6e6 * 7 / 3, 8, fast), 97e-6);  // then the host is the slower part
  EXPECT_EQ(all_to_all_seconds(7e8, 1, kRates), 0);
}

TEST(ScaleModel, BytesByHand) {
  const ExchangePrediction p = predict_exchange(small_case(8), kRates);
  expect_near(p.requests, 4096 * 16);
  expect_near(p.distinct, kDistinct);
  expect_near(p.slot_bytes, kDistinct * 7 / 8 * 8);
  expect_near(p.row_bytes, kDistinct * 7 / 8 * 80 * 2);
  expect_near(p.gradient_bytes, kDistinct * 7 / 8 * 80 * 4);
  expect_near(p.undeduplicated_bytes, 4096 * 16 * 7.0 / 8 * 80 * 6);
  EXPECT_LT(p.owned, p.distinct);  // ranks ask for the same rows
  EXPECT_GT(p.owned, p.distinct / 8);
}

TEST(ScaleModel, TimesByHand) {
  const ExchangeCase work = small_case(8);
  const ExchangePrediction p = predict_exchange(work, kRates);
  const double outside = 4.0 / 7;
  expect_near(p.fetch_seconds, 3e-6 + kDistinct * 80 * 6 / 1e12 + 8e-6 + p.row_bytes * outside / 10e9);
  const double merged = 5e-6 + (p.distinct + p.owned) * 80 * 4 / 2e12;
  expect_near(p.return_seconds, 8e-6 + p.gradient_bytes * outside / 10e9 + merged);
  expect_near(p.sum_seconds, 7e-6 + (p.requests * 80 * 2 + p.distinct * 80 * 4) / 4e12 + p.requests * 1e-9);
  expect_near(p.plan_seconds, 14.9e-6 + 8e-6 + p.slot_bytes * outside / 10e9);  // headers inside take longest
  expect_near(p.compute_seconds, 0.03);
}

TEST(ScaleModel, DistinctRowsAreNoMoreThanThereAre) {
  ExchangeCase work = small_case(64);
  work.num_rows = 16;
  const ExchangePrediction p = predict_exchange(work, kRates);
  expect_near(p.distinct, 16);
  expect_near(p.owned, 16.0 / 64);
}

TEST(ScaleModel, NGramsRepeatMoreInMoreText) {
  double before = 1;
  for (double tokens = 4096; tokens < 1e10; tokens *= 2) {
    const double share = distinct_ngrams(tokens, 0) / tokens;
    EXPECT_LT(share, before);
    EXPECT_GT(distinct_ngrams(2 * tokens, 0), distinct_ngrams(tokens, 0));
    expect_near(distinct_ngrams(tokens, 0.01), (share + 0.01) * tokens);
    before = share;
  }
  EXPECT_EQ(distinct_ngrams(4096, 0.5), 4096);
  EXPECT_EQ(distinct_ngrams(1e9, -0.5), 0);
}

TEST(ScaleModel, OneRankGathersItsRowsAndSendsNothing) {
  ExchangeCase work = small_case(1);
  const ExchangePrediction p = predict_exchange(work, kRates);
  expect_near(p.distinct, kDistinct);
  expect_near(p.owned, kDistinct);
  EXPECT_EQ(p.slot_bytes + p.row_bytes + p.gradient_bytes + p.undeduplicated_bytes, 0);
  expect_near(p.fetch_seconds, 3e-6 + kDistinct * 80 * 6 / 1e12);
  EXPECT_EQ(p.plan_seconds + p.return_seconds, 0);
  expect_near(p.sum_seconds, 7e-6 + (4096 * 16 * 80 * 2 + kDistinct * 80 * 4) / 4e12 + 4096 * 16 * 1e-9);
  expect_near(p.exposed_seconds, p.fetch_seconds + p.sum_seconds);
  work.cover_flops = 1e14;
  EXPECT_EQ(predict_exchange(work, kRates).exposed_seconds, p.sum_seconds);
}

// Gathers of one H200 and exchanges of two, the smallest and the largest of docs/results/scale-model.md.
TEST(ScaleModel, KernelsAreNearWhatWasMeasured) {
  const ScaleRange range = scale_range(NetworkConfig{});
  const auto middle = [&](RowKernel ScaleRates::*kernel, double num_bytes, double num_rows = 0) {
    return ((range.best.*kernel).seconds(num_bytes, num_rows) + (range.worst.*kernel).seconds(num_bytes, num_rows)) / 2;
  };
  const auto gather = [&](double rows, double width) { return middle(&ScaleRates::gather, rows * width * 6); };
  const auto sum = [&](double rows, double width) { return middle(&ScaleRates::sum, rows * width * 4); };
  EXPECT_NEAR(gather(151057, 64) / 19.6e-6, 1, 0.15);
  EXPECT_NEAR(gather(816017, 256) / 298.3e-6, 1, 0.15);
  const auto own_sum = [&](double requests, double rows, double width) {
    return middle(&ScaleRates::own_sum, (requests * 2 + rows * 4) * width, requests);
  };
  EXPECT_NEAR(own_sum(16 * 16384, 151057, 64) / 56.0e-6, 1, 0.15);
  EXPECT_NEAR(own_sum(32 * 65536, 816017, 256) / 535.6e-6, 1, 0.15);
  const auto wire = [&](double num_bytes) { return all_to_all_seconds(num_bytes, 2, range.best); };
  EXPECT_NEAR((gather(144383, 64) + wire(9.24e6)) / 80.1e-6, 1, 0.15);
  EXPECT_NEAR((gather(888130, 256) + wire(227.4e6)) / 1149e-6, 1, 0.15);
  EXPECT_NEAR((sum(144383 + 131900, 64) + wire(18.48e6)) / 131e-6, 1, 0.15);
  EXPECT_NEAR((sum(888130 + 779300, 256) + wire(454.7e6)) / 1943e-6, 1, 0.15);
}

TEST(ScaleModel, ExposedIsWhatNothingHides) {
  ExchangeCase work = small_case(64);
  const ExchangePrediction bare = predict_exchange(work, kRates);
  const double after = bare.sum_seconds + bare.return_seconds;
  expect_near(bare.exposed_seconds, bare.fetch_seconds + after);
  work.cover_flops = bare.fetch_seconds / 4 * kRates.flops_per_second;
  expect_near(predict_exchange(work, kRates).exposed_seconds, bare.fetch_seconds * 3 / 4 + after);
  work.cover_flops = 1e14;
  expect_near(predict_exchange(work, kRates).exposed_seconds, after);
  work.step_flops = 0;
  expect_near(predict_exchange(work, kRates).exposed_seconds, after + bare.plan_seconds);
}

TEST(ScaleModel, MoreRanksTakeLongerAndTheBestIsNotTheWorst) {
  const ScaleRange range = scale_range(NetworkConfig{});
  double fetch = 0, returned = 0;
  for (int64_t num_ranks = 2; num_ranks <= 4096; num_ranks *= 2) {
    const ExchangePrediction best = predict_exchange(small_case(num_ranks), range.best);
    const ExchangePrediction worst = predict_exchange(small_case(num_ranks), range.worst);
    EXPECT_LT(best.row_bytes, worst.row_bytes);
    EXPECT_LT(best.fetch_seconds, worst.fetch_seconds);
    EXPECT_LT(best.return_seconds, worst.return_seconds);
    EXPECT_LT(best.exposed_share(), worst.exposed_share());
    EXPECT_LT(worst.row_bytes + worst.gradient_bytes, worst.undeduplicated_bytes);
    EXPECT_GT(best.fetch_seconds, fetch) << num_ranks;
    EXPECT_GT(best.return_seconds, returned) << num_ranks;
    fetch = best.fetch_seconds;
    returned = best.return_seconds;
  }
}

TEST(ScaleModel, CaseOfAConfigurationByHand) {
  RunConfig config = tiny_run();
  config.model.engram.layers = {1};
  const ExchangeCase work = exchange_case(config, 2);
  EXPECT_EQ(work.num_ranks, 2);
  EXPECT_EQ(work.tokens, 2 * 12);
  EXPECT_EQ(work.rows_per_token, 4);
  EXPECT_EQ(work.num_rows, 307 + 311 + 313 + 317);
  EXPECT_EQ(work.width, 3);
  constexpr int64_t kProducts = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24;  // attention, feed-forward of layer 0
  constexpr int64_t kScores = 2 * 2 * 16 * 12 / 2;                       // two heads of 8 + 8, half of 12 x 12
  expect_near(work.cover_flops, (2 * kProducts + kScores) * 12);
  config.model.engram.layers = {0, 1};
  EXPECT_EQ(exchange_case(config, 2).cover_flops, 0);
  EXPECT_EQ(exchange_case(config, 2).rows_per_token, 8);
}

TEST(ScaleText, HasALineForEachNumberOfRanks) {
  RunConfig config = tiny_run();
  config.train.global_batch = 16;
  std::string text = scale_text(config, {.network = "ib400", .ranks = {}});
  EXPECT_NE(text.find("modelled"), std::string::npos);
  EXPECT_NE(text.find("\n     8 "), std::string::npos) << text;
  EXPECT_NE(text.find("\n    16 "), std::string::npos);
  EXPECT_EQ(text.find("\n    32 "), std::string::npos);  // does not divide the batch
  config.model.moe.num_experts = config.parallel.expert = 16;
  text = scale_text(config, {.network = "ib400", .ranks = {}, .local_batch = 1});
  EXPECT_EQ(text.find("\n     8 "), std::string::npos) << text;  // too few to share the experts
  EXPECT_NE(text.find("\n    16 "), std::string::npos);
  config.parallel.expert = 1;
  text = scale_text(config, {.network = "ib400", .ranks = {4, 1}});
  EXPECT_NE(text.find("\n     4 "), std::string::npos) << text;
  EXPECT_NE(text.find("\n     1 "), std::string::npos);
  EXPECT_EQ(text.find("\n     8 "), std::string::npos);
}

TEST(ScaleText, RefusesWhatDoesNotFit) {
  RunConfig config = tiny_run();
  const auto refused = [&](const ScaleOptions& options) { return refusal([&] { scale_text(config, options); }); };
  EXPECT_NE(refused({.network = "ib400", .ranks = {}}).find("wanted --ranks or --local-batch"), std::string::npos);
  EXPECT_NE(refused({.network = "ib400", .ranks = {3}}).find("train.global_batch"), std::string::npos);
  EXPECT_EQ(refused({.network = "ib400", .ranks = {3}, .local_batch = 2}), "");
  config.model.engram.layers = {};
  EXPECT_NE(refused({.network = "ib400", .ranks = {2}}).find("model.engram.layers is empty"), std::string::npos);
}

TEST(Network, OfAFile) {
  const test::TemporaryDirectory directory;
  const auto load = [&](const std::string& text) {
    test::write_file(directory / "n.yaml", text);
    return load_network(directory / "n.yaml");
  };
  const NetworkConfig network = load("gpus_per_host: 4\nmessage_us: [0, 2.5]\n");
  EXPECT_EQ(network.gpus_per_host, 4);
  EXPECT_EQ(network.message_us, (std::vector<double>{0, 2.5}));
  EXPECT_EQ(network.network_gb_per_s, NetworkConfig{}.network_gb_per_s);
  EXPECT_EQ(load_network("ib200").network_gb_per_s, (std::vector<double>{21.25, 24.25}));

  const auto refused = [&](const std::string& text) { return refusal([&] { load(text); }); };
  EXPECT_NE(refused("message_us: [5, 1]\n").find("n.yaml:1:13: message_us: [5, 1]; wanted [least, most]"),
            std::string::npos)
      << refused("message_us: [5, 1]\n");
  EXPECT_NE(refused("network_gb_per_s: 40\n").find("[40]; wanted [least, most]"), std::string::npos);
  EXPECT_NE(refused("network_gb_per_s: [0, 40]\n").find("is outside"), std::string::npos);
  EXPECT_NE(refused("message_us: [-1, 40]\n").find("is outside"), std::string::npos);
  EXPECT_NE(refused("hosts: 40\n").find("unknown key"), std::string::npos);
  EXPECT_NE(refusal([] { load_network("ib800"); }).find("ib800"), std::string::npos);
}

}  // namespace
}  // namespace engram
