#include "trainer/scale_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "model/accounting.h"
#include "parallel/row_layout.h"
#include "parallel/row_messages.h"
#include "trainer/bench_timing.h"
#include "trainer/config.h"
#include "trainer/config_reader.h"
#include "trainer/estimate.h"
#include "trainer/progress.h"
#include "trainer/table_optimizer.h"

namespace engram {
namespace {

struct Point {
  double x, y;
};

// An all-to-all of two H200s of one host: bytes that leave a card, seconds. Below the first message nothing gets
// faster, beyond the last the rate stays.
constexpr double kMeasuredHostRate = 317e9;
constexpr Point kHostTimes[] = {{1, 14.9e-6},
                                {1 << 15, 14.9e-6},
                                {1 << 19, 22.3e-6},
                                {9.29e6, 59.9e-6},
                                {18.6e6, 97.0e-6},
                                {37.2e6, 166e-6},
                                {70.4e6, 281e-6},
                                {122.6e6, 460e-6},
                                {245e6, 882e-6},
                                {536e6, 1693e-6},
                                {536e6 * 0x1p20, 1693e-6 * 0x1p20}};

// Tokens of samples of English text, and distinct ones among their 2-grams or 3-grams, the mean of both.
constexpr Point kDistinct[] = {{1, 1},
                               {1 << 12, 0.8235 * (1 << 12)},
                               {1 << 14, 0.790 * (1 << 14)},
                               {1 << 16, 0.731 * (1 << 16)},
                               {1 << 18, 0.654 * (1 << 18)},
                               {1 << 20, 0.559 * (1 << 20)},
                               {1 << 22, 0.454 * (1 << 22)}};

// Working figures: shares of the peak that training reaches (docs/results/training-on-h200.md); what gathers and sums
// of rows take on an H200 before the first byte, and bytes a second that they then read and write, of a rank's own sums
// also for each request; points of the share of distinct.
constexpr double kSharesOfPeak[] = {0.30, 0.42};
constexpr double kGatherSeconds = 7e-6, kGatherRates[] = {3.8e12, 4.6e12};
constexpr double kSumSeconds = 13e-6, kSumRates[] = {3.2e12, 3.9e12};
constexpr double kOwnSumSeconds = 32e-6, kOwnSumRates[] = {4.0e12, 4.8e12}, kOwnSumRowSeconds = 30e-12;
constexpr double kDistinctShift = 0.1;

// On the line through the two nearest points, both axes logarithmic.
double interpolate(std::span<const Point> points, double x) {
  size_t i = 1;
  while (i + 1 < points.size() && points[i].x < x) ++i;
  const Point &a = points[i - 1], &b = points[i];
  const double slope = std::log(b.y / a.y) / std::log(b.x / a.x);
  return a.y * std::pow(std::max(x, points[0].x) / a.x, slope);
}

double host_seconds(double num_bytes, double bytes_per_second) {
  return interpolate(kHostTimes, num_bytes * kMeasuredHostRate / bytes_per_second);
}

// Rows that so many tokens ask for; n-grams that are hashed to one row of a table count once.
double distinct_rows(const ExchangeCase& work, double tokens, double distinct_shift) {
  const auto columns = static_cast<double>(work.rows_per_token);
  const double rows = static_cast<double>(work.num_rows) / columns;
  return columns * rows * -std::expm1(-distinct_ngrams(tokens, distinct_shift) / rows);
}

// Forward, of a micro-batch, by the blocks before the first that reads memory.
double cover_flops(const RunConfig& config) {
  ModelConfig before = config.model;
  before.num_layers = config.model.engram.layers.front();
  before.engram.layers.clear();
  const double head = 6.0 * static_cast<double>(before.vocab_size * before.hidden);
  const auto tokens = static_cast<double>(config.train.micro_batch * config.data.seq_len);
  return (training_flops_per_token(before, config.data.seq_len) - head) / 3 * tokens;
}

RunConfig with_batch(const RunConfig& config, int64_t local_batch, int64_t num_ranks) {
  RunConfig result = config;
  result.device = DeviceChoice::kCuda;
  if (local_batch > 0) result.train.global_batch = local_batch * num_ranks;
  return result;
}

std::vector<int64_t> ranks_of(const RunConfig& config, const ScaleOptions& options) {
  if (!options.ranks.empty()) return options.ranks;
  std::vector<int64_t> ranks;
  std::string problem;
  for (int64_t num_ranks = 8; num_ranks <= 4096; num_ranks *= 2) {
    try {
      check_world(with_batch(config, options.local_batch, num_ranks), num_ranks);
      ranks.push_back(num_ranks);
    } catch (const ConfigError& error) {
      problem = error.what();
    }
  }
  if (ranks.empty()) {
    throw ConfigError("fits none of 8, 16, .. 4096 ranks; wanted --ranks or --local-batch; for 4096: " + problem);
  }
  return ranks;
}

std::string gibibytes(int64_t num_bytes) {
  return fmt::format("{:.1f}", static_cast<double>(num_bytes) / (int64_t{1} << 30));
}

std::string table_memory(const RunConfig& config, int64_t num_ranks) {
  const int64_t width = config.model.engram.row_width();
  const RowLayout layout(table_rows(config.model), static_cast<int>(num_ranks));
  return gibibytes(layout.num_slots(0) *
                   (width * size_of(DType::kFloat32) +
                    table_state_bytes_per_row(config.optimizer.table.kind, width, DType::kFloat32)));
}

// Three digits each, or as many as stand before the point.
std::string range_text(double low, double high) {
  const auto text = [](double value) {
    return value < 999.5 ? fmt::format("{:.3g}", value) : fmt::format("{:.0f}", value);
  };
  return text(low) + "-" + text(high);
}

// A line of the table.
std::string line_text(const std::array<std::string, 14>& cells) {
  constexpr std::array<size_t, 14> kWidths = {5, 9, 7, 7, 11, 11, 11, 9, 13, 13, 13, 13, 13, 15};
  std::string text;
  for (size_t i = 0; i < cells.size(); ++i) {
    text += std::string(kWidths[i] + 1 - std::min(kWidths[i], cells[i].size()), ' ') + cells[i];
  }
  return text + "\n";
}

std::string line_text(const RunConfig& config, int64_t num_ranks, const ScaleRange& range) {
  const ExchangeCase work = exchange_case(config, num_ranks);
  const ExchangePrediction best = predict_exchange(work, range.best), worst = predict_exchange(work, range.worst);
  const auto between = [&](double ExchangePrediction::*value, double unit) {
    const auto [low, high] = std::minmax(best.*value, worst.*value);
    return range_text(low / unit, high / unit);
  };
  const bool is_trainable = unsupported_for_training(config.model).empty();
  return line_text(
      {std::to_string(num_ranks), scaled_text(static_cast<double>(work.tokens * num_ranks)),
       table_memory(config, num_ranks), is_trainable ? gibibytes(estimate_memory(config, num_ranks).total()) : "-",
       between(&ExchangePrediction::slot_bytes, 1e6), between(&ExchangePrediction::row_bytes, 1e6),
       between(&ExchangePrediction::gradient_bytes, 1e6), scaled_text(worst.undeduplicated_bytes / 1e6),
       between(&ExchangePrediction::fetch_seconds, 1e-3), between(&ExchangePrediction::sum_seconds, 1e-3),
       between(&ExchangePrediction::return_seconds, 1e-3), between(&ExchangePrediction::compute_seconds, 1e-3),
       between(&ExchangePrediction::exposed_seconds, 1e-3),
       range_text(100 * best.exposed_share(), 100 * worst.exposed_share()) + " %"});
}

std::string heading_text(const NetworkConfig& network, const std::string& name) {
  return fmt::format(
             "row exchange, modelled, over {} (least-most expected; none of it was measured on that many GPUs)\n"
             "  hosts of {} GPUs, {} GB/s inside; outside {}-{} GB/s a GPU, {}-{} us a message\n"
             "  compute at {:.0f}-{:.0f} % of {:.0f} TFLOP/s; n-grams repeat as in English text, {:.0f} points more or "
             "less\n",
             name, network.gpus_per_host, network.host_gb_per_s, network.network_gb_per_s[0],
             network.network_gb_per_s[1], network.message_us[0], network.message_us[1], 100 * kSharesOfPeak[0],
             100 * kSharesOfPeak[1], kDataSheetFlops / 1e12, 100 * kDistinctShift) +
         line_text({"", "tokens", "GiB of", "a rank", "MB from a", "rank to all", "others", "without", "ms of a",
                    "step", "", "", "", "share"}) +
         line_text({"ranks", "of a step", "tables", "all", "slots", "rows", "gradients", "dedup.", "fetch", "sums",
                    "return", "compute", "exposed", "exposed"});
}

}  // namespace

ConfigProblems validate(const NetworkConfig& c) {
  ConfigProblems problems = range_problems(c);
  const auto want_pair = [&](const char* key, const std::vector<double>& values) {
    if (values.size() == 2 && values[0] <= values[1]) return;
    std::string got;
    for (const double value : values) got += (got.empty() ? "" : ", ") + number_text(value);
    problems.push_back({{key}, "[" + got + "]; wanted [least, most]"});
  };
  want_pair("network_gb_per_s", c.network_gb_per_s);
  want_pair("message_us", c.message_us);
  return problems;
}

NetworkConfig load_network(const std::string& name) {
  NetworkConfig network;
  if (name == "ib400") return network;
  if (name == "ib200") {
    for (double& rate : network.network_gb_per_s) rate /= 2;
    return network;
  }
  ConfigReader<NetworkConfig> reader;
  reader.add_file(read_config_file(name), name);
  return reader.finish();
}

double distinct_ngrams(double tokens, double distinct_shift) {
  const double share = interpolate(kDistinct, tokens) / tokens + distinct_shift;
  return tokens * std::clamp(share, 0.0, 1.0);
}

double all_to_all_seconds(double num_bytes, int64_t num_ranks, const ScaleRates& rates) {
  if (num_ranks == 1) return 0;
  const int64_t at_home = std::min(num_ranks, rates.gpus_per_host);
  const auto away = static_cast<double>(num_ranks - at_home);
  const double inside = num_bytes * static_cast<double>(at_home - 1) / static_cast<double>(num_ranks - 1);
  const double host = at_home > 1 ? host_seconds(inside, rates.host_bytes_per_second) : 0;
  return std::max(host, away * rates.message_seconds + (num_bytes - inside) / rates.network_bytes_per_second);
}

ExchangePrediction predict_exchange(const ExchangeCase& work, const ScaleRates& rates) {
  const auto num_ranks = static_cast<double>(work.num_ranks), tokens = static_cast<double>(work.tokens);
  const double away = 1 - 1 / num_ranks, narrow = static_cast<double>(work.width * size_of(DType::kBFloat16)),
               wide = static_cast<double>(work.width * size_of(DType::kFloat32));
  ExchangePrediction p;
  p.compute_seconds = work.step_flops / rates.flops_per_second;
  p.requests = tokens * static_cast<double>(work.rows_per_token);
  p.distinct = distinct_rows(work, tokens, rates.distinct_shift);
  p.owned = distinct_rows(work, tokens * num_ranks, rates.distinct_shift) / num_ranks;
  p.slot_bytes = p.distinct * away * static_cast<double>(size_of(DType::kInt64));
  p.row_bytes = p.distinct * away * narrow;
  p.gradient_bytes = p.distinct * away * wide;
  p.undeduplicated_bytes = p.requests * away * (narrow + wide);
  const auto move = [&](double num_bytes) { return all_to_all_seconds(num_bytes, work.num_ranks, rates); };
  const double gathered = p.distinct * (wide + narrow);           // read and written
  const double summed = p.requests * narrow + p.distinct * wide;  // read; written
  const double merged = (p.distinct + p.owned) * wide;            // read and written
  p.plan_seconds = move((num_ranks - 1) * sizeof(RowHeader)) + move(p.slot_bytes);
  p.fetch_seconds = rates.gather.seconds(gathered) + move(p.row_bytes);
  p.sum_seconds = rates.own_sum.seconds(summed, p.requests);
  if (work.num_ranks > 1) p.return_seconds = move(p.gradient_bytes) + rates.sum.seconds(merged);
  p.exposed_seconds = std::max(0.0, p.plan_seconds - p.compute_seconds) +
                      std::max(0.0, p.fetch_seconds - work.cover_flops / rates.flops_per_second) + p.sum_seconds +
                      p.return_seconds;
  return p;
}

ScaleRange scale_range(const NetworkConfig& network) {
  const auto rates = [&](int luck) {  // 1: the best
    const auto at = static_cast<size_t>(luck), at_most = static_cast<size_t>(1 - luck);
    return ScaleRates{.gpus_per_host = network.gpus_per_host,
                      .host_bytes_per_second = network.host_gb_per_s * 1e9,
                      .network_bytes_per_second = network.network_gb_per_s[at] * 1e9,
                      .message_seconds = network.message_us[at_most] * 1e-6,
                      .gather = {kGatherSeconds, kGatherRates[at]},
                      .sum = {kSumSeconds, kSumRates[at]},
                      .own_sum = {kOwnSumSeconds, kOwnSumRates[at], kOwnSumRowSeconds},
                      .flops_per_second = kSharesOfPeak[at_most] * kDataSheetFlops,  // slow work hides more
                      .distinct_shift = luck == 1 ? -kDistinctShift : kDistinctShift};
  };
  return {.best = rates(1), .worst = rates(0)};
}

ExchangeCase exchange_case(const RunConfig& config, int64_t num_ranks) {
  const EngramConfig& engram = config.model.engram;
  const int64_t tokens = config.train.global_batch / num_ranks * config.data.seq_len;
  int64_t num_rows = 0;
  for (const int64_t rows : table_rows(config.model)) num_rows += rows;
  return {.num_ranks = num_ranks,
          .tokens = tokens,
          .rows_per_token = std::ssize(engram.layers) * engram.num_columns(),
          .num_rows = num_rows,
          .width = engram.row_width(),
          .step_flops = training_flops_per_token(config.model, config.data.seq_len) * static_cast<double>(tokens),
          .cover_flops = cover_flops(config)};
}

std::string scale_text(const RunConfig& config, const ScaleOptions& options) {
  if (!config.model.engram.enabled()) {
    throw ConfigError("model.engram.layers is empty; wanted a configuration with tables for --network");
  }
  const NetworkConfig network = load_network(options.network);
  const ScaleRange range = scale_range(network);
  std::string text = heading_text(network, options.network);
  for (const int64_t num_ranks : ranks_of(config, options)) {
    const RunConfig run = with_batch(config, options.local_batch, num_ranks);
    check_world(run, num_ranks);
    text += line_text(run, num_ranks, range);
  }
  return text;
}

}  // namespace engram
