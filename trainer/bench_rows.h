#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "trainer/bench_batches.h"
#include "trainer/bench_timing.h"
#include "trainer/cli.h"

// What the benchmarks of the row path share.
namespace engram {

// One point of a sweep.
struct RowCase {
  std::vector<int64_t> rows_per_table;
  int64_t width = 0;
  int64_t rows_per_token = 0;  // in all tables
  int64_t tokens = 0;          // of a rank's step
  double zipf = 0;

  int64_t requests() const { return tokens * rows_per_token; }
};

// Who asks for which rows. Those of a configuration are the n-grams of its data (see BenchBatches). Those that are made
// up: each of the rows_per_token columns has its own equal part of the one table, as a hash head has, in which the row
// of rank r is asked for with probability proportional to 1 / (r + 1)^zipf; ranks are scattered over the part as a hash
// does it, which may put several on one row. scripts/peer/rows.py has the same rule.
class RowSource {
 public:
  RowSource(const BenchRowsOptions& options, const RunConfig& config);

  std::vector<RowCase> cases() const;
  // Global rows [requests] of batch number `batch`.
  std::vector<int64_t> rows(const RowCase& point, const RowLayout& layout, int64_t batch) const;
  // "zipf 1", or what the rows were hashed from.
  std::string text(const RowCase& point) const;
  // The type of rows on their way.
  DType values() const;
  // What is the same in the lines of all stages of a point.
  nlohmann::ordered_json record(const char* kind, const Stream& stream, int num_ranks, const RowCase& point) const;

 private:
  RowCase hashed_case(int64_t tokens) const;
  void add_made_up(std::vector<RowCase>& cases, int64_t tokens, int64_t width) const;
  std::vector<int64_t> hashed_rows(const RowCase& point, const RowLayout& layout, int64_t batch) const;

  const BenchRowsOptions& options_;
  const RunConfig& config_;
  std::optional<BenchBatches> batches_;  // of a configuration
};

// The configuration that the options name, or the defaults; with their device. Throws ConfigError where the options
// give both a configuration and what only made-up tables have.
RunConfig row_config(const BenchRowsOptions& options);

// Work that was timed. A rate is bytes over the median.
struct RowStage {
  std::string name;
  Spread seconds;
  double bytes = 0;
  double limit = 0;  // rate that was reached in this run by what can do no better; 0 = nothing to compare with
};

inline constexpr int64_t kIdBatches = 2;  // that scripts/peer/rows.py takes in turn

// Writes the rows of the first kIdBatches batches of the source's one case, int64 in the order of the requests. Throws
// Error where it has several cases, IoError where the file cannot be written.
void write_ids(const std::string& path, const RowSource& source);

// A table of stages: heading and lines.
std::string row_stage_heading(const char* limit);
std::string row_stage_line(const RowStage& stage);

// Adds the line of a stage, which begins with the record.
void append_stage(const std::string& path, const nlohmann::ordered_json& record, const RowStage& stage);

}  // namespace engram
