#include "trainer/bench_rows.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/core/device.h"
#include "kernels/core/rng.h"
#include "parallel/hash.h"
#include "trainer/bench_record.h"
#include "trainer/config.h"
#include "trainer/config_fields.h"
#include "trainer/progress.h"

namespace engram {
namespace {

constexpr int64_t kTableBytesOnCuda = int64_t{20} << 30;
constexpr int64_t kTableBytesOnCpu = int64_t{16} << 20;

bool on_cuda(const RunConfig& config) { return config.device == DeviceChoice::kCuda; }

template <class T>
std::vector<T> or_else(const std::vector<T>& values, T otherwise) {
  return values.empty() ? std::vector<T>{otherwise} : values;
}

// In [0, 1), with 53 bits.
double uniform_double(const Random128& random) {
  return static_cast<double>((uint64_t{random.word[0]} << 32 | random.word[1]) >> 11) * 0x1p-53;
}

// Rank below `end` by the inverse of the continuous distribution function of density 1 / (x + 1)^exponent.
int64_t zipf_rank(double u, int64_t end, double exponent) {
  const auto top = static_cast<double>(end + 1);
  const double power = 1 - exponent;
  const double x =
      exponent == 1 ? std::exp(u * std::log(top)) : std::pow(1 + u * (std::pow(top, power) - 1), 1 / power);
  return std::clamp<int64_t>(static_cast<int64_t>(x) - 1, 0, end - 1);
}

int64_t scattered(int64_t rank, int64_t end) {
  uint64_t mixed = static_cast<uint64_t>(rank) * kGoldenOdd;
  mixed ^= mixed >> 32;
  return static_cast<int64_t>(mixed & INT64_MAX) % end;
}

}  // namespace

RunConfig row_config(const BenchRowsOptions& options) {
  const bool is_made_up =
      options.rows || !options.widths.empty() || !options.rows_per_token.empty() || !options.zipf.empty();
  if (is_made_up && !options.config.empty()) {
    throw ConfigError("--rows, --widths, --rows-per-token and --zipf make up a table; " + options.config +
                      " has its own");
  }
  RunConfig config = options.config.empty() ? RunConfig{} : load_config(options.config, options.sets);
  if (options.config.empty()) config.device = num_cuda_devices() > 0 ? DeviceChoice::kCuda : DeviceChoice::kCpu;
  if (!options.device.empty()) config.device = options.device == "cuda" ? DeviceChoice::kCuda : DeviceChoice::kCpu;
  ENGRAM_CHECK(options.config.empty() || config.model.engram.enabled(), options.config,
               ": model.engram.layers is empty; wanted a configuration with tables");
  return config;
}

RowSource::RowSource(const BenchRowsOptions& options, const RunConfig& config) : options_(options), config_(config) {
  if (!options.config.empty()) batches_.emplace(config);
}

std::vector<RowCase> RowSource::cases() const {
  std::vector<RowCase> cases;
  for (const int64_t tokens : or_else(options_.tokens, int64_t{on_cuda(config_) ? 65536 : 1024})) {
    if (batches_) {
      cases.push_back(hashed_case(tokens));
    } else {
      for (const int64_t width : or_else(options_.widths, int64_t{128})) add_made_up(cases, tokens, width);
    }
  }
  return cases;
}

RowCase RowSource::hashed_case(int64_t tokens) const {
  const EngramConfig& engram = config_.model.engram;
  const int64_t seq_len = config_.data.seq_len;
  return {.rows_per_table = rows_per_table(make_ngram_layout(engram, 1)),
          .width = engram.row_width(),
          .rows_per_token = std::ssize(engram.layers) * engram.num_columns(),
          .tokens = std::max(tokens / seq_len, int64_t{1}) * seq_len};
}

void RowSource::add_made_up(std::vector<RowCase>& cases, int64_t tokens, int64_t width) const {
  const int64_t table_bytes = on_cuda(config_) ? kTableBytesOnCuda : kTableBytesOnCpu;
  const int64_t rows = options_.rows.value_or(table_bytes / (width * size_of(DType::kFloat32)));
  for (const int64_t rows_per_token : or_else(options_.rows_per_token, int64_t{16})) {
    ENGRAM_CHECK(rows >= rows_per_token, "a table of ", rows, " rows for ", rows_per_token,
                 " rows per token; wanted at least one row for each");
    for (const double zipf : or_else(options_.zipf, 1.0)) {
      cases.push_back(
          {.rows_per_table = {rows}, .width = width, .rows_per_token = rows_per_token, .tokens = tokens, .zipf = zipf});
    }
  }
}

std::vector<int64_t> RowSource::rows(const RowCase& point, const RowLayout& layout, int64_t batch) const {
  if (batches_) return hashed_rows(point, layout, batch);
  const int64_t end = layout.num_rows(0) / point.rows_per_token;
  std::vector<int64_t> rows(static_cast<size_t>(point.requests()));
  for (size_t i = 0; i < rows.size(); ++i) {
    const double u = uniform_double(philox(static_cast<uint64_t>(batch), i, 0));
    const int64_t column = static_cast<int64_t>(i) % point.rows_per_token;
    rows[i] = layout.global_row(0, column * end + scattered(zipf_rank(u, end, point.zipf), end));
  }
  return rows;
}

std::vector<int64_t> RowSource::hashed_rows(const RowCase& point, const RowLayout& layout, int64_t batch) const {
  Stream stream = CpuQueue{};
  const VocabularyMap vocabulary = batches_->vocabulary();
  const MemoryAddresses addresses(stream, config_.model.engram, vocabulary.compressed_ids, vocabulary.num_keys, layout);
  const int64_t samples = point.tokens / config_.data.seq_len;
  BatchMemory memory;
  const StepBatch tokens = memory.upload(stream, batches_->load(batch * samples, samples), config_.model.engram);
  std::vector<int64_t> rows(static_cast<size_t>(point.requests()));
  std::vector<int32_t> compressed(static_cast<size_t>(tokens.hash_tokens.numel()));
  addresses.rows(stream, tokens.hash_tokens, tokens.hash_starts,
                 Tensor(compressed.data(), DType::kInt32, {samples, tokens.hash_tokens.size(1)}),
                 Tensor(rows.data(), DType::kInt64, {std::ssize(rows)}));
  return rows;
}

std::string RowSource::text(const RowCase& point) const {
  if (!batches_) return fmt::format("zipf {}", point.zipf);
  return "n-grams of " + (batches_->is_random() ? "random tokens" : stores_text(config_.data.train));
}

DType RowSource::values() const {
  const bool narrow = options_.values.empty() ? on_cuda(config_) : options_.values == "bfloat16";
  ENGRAM_CHECK(!narrow || on_cuda(config_), "--values bfloat16 on cpu; wanted float32");
  return narrow ? DType::kBFloat16 : DType::kFloat32;
}

nlohmann::ordered_json RowSource::record(const char* kind, const Stream& stream, int num_ranks,
                                         const RowCase& point) const {
  auto record = bench_record(kind, stream, num_ranks, options_.line);
  record["ids"] = text(point);
  record["rows_per_table"] = point.rows_per_table;
  record["width"] = point.width;
  record["values"] = name_of(values());
  record["tokens"] = point.tokens;
  record["rows_per_token"] = point.rows_per_token;
  return record;
}

void write_ids(const std::string& path, const RowSource& source) {
  const std::vector<RowCase> cases = source.cases();
  ENGRAM_CHECK(cases.size() == 1, "--ids ", path, ": ", cases.size(), " cases; wanted one");
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (int64_t batch = 0; batch < kIdBatches; ++batch) {
    const std::vector<int64_t> rows = source.rows(cases[0], RowLayout(cases[0].rows_per_table, 1), batch);
    file.write(reinterpret_cast<const char*>(rows.data()), std::ssize(rows) * size_of(DType::kInt64));
  }
  file.close();
  ENGRAM_CHECK_AS(IoError, file.good(), path, ": cannot be written; is the disk full?");
}

std::string row_stage_heading(const char* limit) {
  return fmt::format("{:>10} {:>10} {:>10} {:>11} {:>11} {:>7}  stage\n", "median ms", "p10", "p90", "rate", limit,
                     "share");
}

std::string row_stage_line(const RowStage& stage) {
  const double rate = stage.bytes / stage.seconds.median;
  std::string text = fmt::format("{:>10.4f} {:>10.4f} {:>10.4f}", stage.seconds.median * 1e3, stage.seconds.p10 * 1e3,
                                 stage.seconds.p90 * 1e3);
  text += stage.bytes > 0 ? fmt::format(" {:>8}B/s", scaled_text(rate)) : fmt::format(" {:>11}", "");
  text += stage.limit > 0 ? fmt::format(" {:>8}B/s {:>6.1f}%", scaled_text(stage.limit), 100 * rate / stage.limit)
                          : fmt::format(" {:>11} {:>7}", "", "");
  return text + "  " + stage.name + "\n";
}

void append_stage(const std::string& path, const nlohmann::ordered_json& record, const RowStage& stage) {
  nlohmann::ordered_json line = record;
  line["name"] = stage.name;
  line["unit"] = "seconds";
  line["median"] = stage.seconds.median;
  line["p10"] = stage.seconds.p10;
  line["p90"] = stage.seconds.p90;
  line["bytes"] = stage.bytes;
  line["limit_bytes_per_second"] = stage.limit;
  append_record(path, line);
}

}  // namespace engram
