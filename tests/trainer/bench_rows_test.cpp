#include "trainer/bench_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "parallel/self_communicator.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/bench_exchange.h"
#include "trainer/bench_table.h"

namespace engram {
namespace {

// Small enough for a test.
BenchRowsOptions tiny_options(const std::string& json = "") {
  BenchRowsOptions options;
  options.device = "cpu";
  options.rows = 5000;
  options.widths = {8};
  options.rows_per_token = {2};
  options.tokens = {64};
  options.json = json;
  return options;
}

std::vector<nlohmann::json> lines_of(const std::string& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

std::map<int64_t, int64_t> counts_of(const std::vector<int64_t>& rows) {
  std::map<int64_t, int64_t> counts;
  for (const int64_t row : rows) ++counts[row];
  return counts;
}

TEST(BenchRows, MadeUpRowsHaveTheFrequenciesThatWereAskedFor) {
  BenchRowsOptions options = tiny_options();
  options.rows = 2000;
  options.tokens = {50'000};
  options.zipf = {0, 1, 1.5};
  const RunConfig config = row_config(options);
  const RowSource source(options, config);
  const RowLayout layout({2000}, 1);
  for (const RowCase& point : source.cases()) {
    const std::vector<int64_t> rows = source.rows(point, layout, 0);
    ASSERT_EQ(std::ssize(rows), 100'000);
    EXPECT_NE(rows, source.rows(point, layout, 1));
    int64_t most[2] = {};
    for (const auto& [row, count] : counts_of(rows)) {
      ASSERT_TRUE(layout.is_row(row));
      most[row / 1000] = std::max(most[row / 1000], count);
    }
    for (size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i] / 1000, static_cast<int64_t>(i % 2));
    // Share of rank 0: the density's integral over [0, 1) over that over [0, 1000).
    const double power = 1 - point.zipf;
    const double share =
        point.zipf == 1 ? std::log(2) / std::log(1001) : (std::pow(2, power) - 1) / (std::pow(1001, power) - 1);
    if (point.zipf == 0) {
      EXPECT_LT(most[0], 300);  // of 50 on average; some ranks share a row
      continue;
    }
    const double want = 50'000 * share, deviation = std::sqrt(want);
    for (const int64_t got : most) EXPECT_NEAR(static_cast<double>(got), want, 6 * deviation + 0.02 * want);
  }
}

TEST(BenchRows, RowsOfAConfigurationAreThoseOfItsTables) {
  BenchRowsOptions options;
  options.config = "given";  // it is in `config`
  options.tokens = {30};
  const RunConfig config = test::tiny_run();
  const RowSource source(options, config);
  const std::vector<RowCase> cases = source.cases();
  ASSERT_EQ(cases.size(), 1u);
  EXPECT_EQ(cases[0].tokens, 24);         // whole sequences
  EXPECT_EQ(cases[0].rows_per_token, 8);  // two layers, orders and heads
  EXPECT_EQ(cases[0].width, 3);
  const RowLayout layout(cases[0].rows_per_table, 2);
  const std::vector<int64_t> rows = source.rows(cases[0], layout, 3);
  EXPECT_EQ(std::ssize(rows), cases[0].requests());
  for (const int64_t row : rows) EXPECT_TRUE(layout.is_row(row));
  EXPECT_GT(counts_of(rows).size(), 100u);
}

void expect_stage(const nlohmann::json& line) {
  EXPECT_GT(line["median"], 0) << line;
  EXPECT_GE(line["p90"], line["median"]) << line;
  EXPECT_GT(line["bytes"], 0) << line;
  EXPECT_GT(line["limit_bytes_per_second"], 0) << line;
  EXPECT_EQ(line["width"], 8);
  EXPECT_GT(line["unique"], 32);
  EXPECT_LE(line["unique"], 128);
}

TEST(BenchTable, AddsALineForEachStage) {
  const std::string path = ::testing::TempDir() + "/bench_table.jsonl";
  std::filesystem::remove(path);
  SelfCommunicator world;
  BenchRowsOptions options = tiny_options(path);
  options.zipf = {0, 1};
  run_bench_table(world, {.options = options, .ids = ""});
  const auto lines = lines_of(path);
  std::set<std::string> names;
  for (const nlohmann::json& line : lines) {
    expect_stage(line);
    names.insert(line["name"]);
  }
  EXPECT_EQ(lines.size(), 2 * names.size());  // each stage at both exponents
  EXPECT_TRUE(names.contains("update by adam_dense"));
  EXPECT_TRUE(names.contains("whole path, adam_lazy"));
}

TEST(BenchTable, WritesTheRowsOfTwoBatchesForAnotherProgram) {
  const std::string path = ::testing::TempDir() + "/bench_table.ids";
  BenchRowsOptions options = tiny_options();
  const RunConfig config = row_config(options);
  const RowSource source(options, config);
  write_ids(path, source);
  std::ifstream file(path, std::ios::binary);
  const std::string got{std::istreambuf_iterator<char>(file), {}};
  std::string want;
  for (int64_t batch = 0; batch < kIdBatches; ++batch) {
    const std::vector<int64_t> rows = source.rows(source.cases()[0], RowLayout({5000}, 1), batch);
    want.append(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(int64_t));
  }
  EXPECT_EQ(got.size(), 2u * 128 * sizeof(int64_t));
  EXPECT_EQ(got, want);
  const std::string folder = test::error_of([&] { write_ids(::testing::TempDir(), source); });
  EXPECT_NE(folder.find("cannot be written"), std::string::npos) << folder;
  options.zipf = {0, 1};
  const std::string several = test::error_of([&] { write_ids(path, RowSource(options, config)); });
  EXPECT_NE(several.find("2 cases; wanted one"), std::string::npos) << several;
}

TEST(BenchExchange, AddsALineForEachStage) {
  const std::string path = ::testing::TempDir() + "/bench_exchange.jsonl";
  std::filesystem::remove(path);
  run_ranks(2, [&](Communicator& world) { run_bench_exchange(world, tiny_options(path)); });
  const auto lines = lines_of(path);
  EXPECT_EQ(lines.size(), 6u);  // of rank 0 alone
  for (const nlohmann::json& line : lines) {
    expect_stage(line);
    EXPECT_LE(line["remote"], line["remote_requests"]);
    EXPECT_EQ(line["devices"], 2);
    const auto rows =
        line["name"] == "fetch without deduplication, wire alone" ? line["remote_requests"] : line["remote"];
    EXPECT_EQ(line["bytes"], rows.get<double>() * 8 * 4);
  }
}

TEST(BenchRows, RefusesWhatItCannotMeasure) {
  SelfCommunicator world;
  const std::string ranks = test::error_of([&] { run_bench_exchange(world, tiny_options()); });
  EXPECT_NE(ranks.find("1 rank; wanted at least 2"), std::string::npos) << ranks;
  BenchRowsOptions options = tiny_options();
  options.values = "bfloat16";
  const std::string values = test::error_of([&] { run_bench_table(world, {.options = options, .ids = ""}); });
  EXPECT_NE(values.find("--values bfloat16 on cpu"), std::string::npos) << values;
  options = tiny_options();
  options.rows = 1;
  const std::string rows = test::error_of([&] { run_bench_table(world, {.options = options, .ids = ""}); });
  EXPECT_NE(rows.find("a table of 1 rows for 2 rows per token"), std::string::npos) << rows;
  options.config = "a.yaml";
  const std::string both = test::error_of([&] { run_bench_table(world, {.options = options, .ids = ""}); });
  EXPECT_NE(both.find("make up a table; a.yaml has its own"), std::string::npos) << both;
}

}  // namespace
}  // namespace engram
