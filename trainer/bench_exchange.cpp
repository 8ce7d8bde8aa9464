#include "trainer/bench_exchange.h"

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/random_fill.h"
#include "parallel/memory_table.h"
#include "trainer/bench_record.h"
#include "trainer/bench_rows.h"
#include "trainer/compute.h"
#include "trainer/progress.h"

namespace engram {
namespace {

// One rank's requests at one point of the sweep.
class ExchangePath {
 public:
  ExchangePath(Stream& stream, Communicator& group, const RowSource& source, const RowCase& point);

  std::vector<RowStage> measure();
  const RowStats& stats() const { return plan_.stats(); }
  // Requests for rows of other ranks, duplicates included, and the rows that a fetch brings from there.
  int64_t num_remote_requests() const { return off_rank(requested_); }
  int64_t num_remote() const { return off_rank(plan_.send_counts()); }

 private:
  int64_t off_rank(std::span<const int64_t> counts) const {
    return std::accumulate(counts.begin(), counts.end(), -counts[static_cast<size_t>(group_.rank())]);
  }
  void add(const std::string& name, double bytes, const Spread& seconds);
  Spread time(const std::function<void()>& call) const;
  // An all-to-all of random rows and nothing else, with these counts of each peer.
  Spread time_all_to_all(DType dtype, int64_t width, std::span<const int64_t> sent, std::span<const int64_t> received);
  // Bytes a second to others where every rank sends all others this many, in equal parts.
  double all_to_all_rate(double bytes);
  void fetch() { exchange_.begin_fetch(stream_, table_.weight(), plan_).wait(stream_); }

  Stream& stream_;
  Communicator& group_;
  RowLayout layout_;
  DType values_;
  MemoryTable table_;
  RowExchange exchange_;
  RowPlan plan_;
  ReusedBuffer rows_memory_, sums_memory_, sent_memory_, received_memory_;
  Tensor rows_, sums_;
  std::vector<int64_t> requested_, served_;  // requests to and from each rank, duplicates included
  std::vector<RowStage> stages_;
};

ExchangePath::ExchangePath(Stream& stream, Communicator& group, const RowSource& source, const RowCase& point)
    : stream_(stream),
      group_(group),
      layout_(point.rows_per_table, group.size()),
      values_(source.values()),
      table_(stream, layout_, group.rank(), {.width = point.width, .dtype = DType::kFloat32, .deviation = 1.0}),
      exchange_(group, layout_, {.width = point.width, .dtype = values_}),
      requested_(static_cast<size_t>(group.size())),
      served_(requested_.size()) {
  const Device device = device_of(stream);
  std::vector<int64_t> rows = source.rows(point, layout_, group.rank());
  for (const int64_t row : rows) {
    if (row >= 0) ++requested_[static_cast<size_t>(layout_.owner(row))];
  }
  Stream host = CpuQueue{};
  const std::vector<int64_t> ones(requested_.size(), 1);
  const auto words = [](std::vector<int64_t>& values) {
    return Tensor(values.data(), DType::kInt64, {std::ssize(values)});
  };
  group.all_to_all_rows(host, words(requested_), ones, words(served_), ones).wait();
  rows_ = rows_memory_.take(device, DType::kInt64, {std::ssize(rows)});
  copy(stream, words(rows), rows_);
  exchange_.plan(stream, rows_, plan_);
  sums_ = sums_memory_.take(device, accumulator(values_), {plan_.num_unique(), point.width});
  fill_normal(stream, sums_, {.domain = RandomDomain::kSampling});
  synchronize(stream);
}

Spread ExchangePath::time(const std::function<void()>& call) const {
  group_.barrier();
  return seconds_per_call(stream_, call, &group_);
}

Spread ExchangePath::time_all_to_all(DType dtype, int64_t width, std::span<const int64_t> sent,
                                     std::span<const int64_t> received) {
  const auto take = [&](ReusedBuffer& memory, std::span<const int64_t> counts) {
    const int64_t num_rows = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    return memory.take(device_of(stream_), dtype, {num_rows, width});
  };
  const Tensor from = take(sent_memory_, sent), to = take(received_memory_, received);
  fill_normal(stream_, from, {.domain = RandomDomain::kSampling});
  return time([&] { group_.all_to_all_rows(stream_, from, sent, to, received).wait(); });
}

double ExchangePath::all_to_all_rate(double bytes) {
  double most[] = {bytes};
  all_reduce_max<double>(group_, most);
  const int num_others = group_.size() - 1;
  constexpr int64_t kWidth = 64;  // what begins for a peer is aligned
  const auto count = static_cast<int64_t>(most[0] / num_others / (kWidth * size_of(DType::kFloat32))) + 1;
  const std::vector<int64_t> counts(static_cast<size_t>(group_.size()), count);
  const double sent = static_cast<double>(num_others * count * kWidth * size_of(DType::kFloat32));
  return sent / time_all_to_all(DType::kFloat32, kWidth, counts, counts).median;
}

void ExchangePath::add(const std::string& name, double bytes, const Spread& seconds) {
  stages_.push_back({.name = name, .seconds = seconds, .bytes = bytes, .limit = all_to_all_rate(bytes)});
}

std::vector<RowStage> ExchangePath::measure() {
  const int64_t width = table_.width();
  const auto to_asker = static_cast<double>(num_remote() * width * size_of(values_));
  const auto to_asker_repeated = static_cast<double>(num_remote_requests() * width * size_of(values_));
  const auto to_owner = static_cast<double>(num_remote() * width * size_of(sums_.dtype));
  const auto asked = plan_.send_counts(), served = plan_.request_counts();
  add("fetch, wire alone", to_asker, time_all_to_all(values_, width, served, asked));
  add("fetch without deduplication, wire alone", to_asker_repeated,
      time_all_to_all(values_, width, served_, requested_));
  add("gradient return, wire alone", to_owner, time_all_to_all(sums_.dtype, width, asked, served));
  add("fetch", to_asker, time([&] { fetch(); }));
  add("gradient return", to_owner, time([&] { exchange_.return_gradients(stream_, sums_, plan_).wait(stream_); }));
  add("plan and fetch", to_asker, time([&] {
        exchange_.plan(stream_, rows_, plan_);
        fetch();
      }));
  return stages_;
}

}  // namespace

void run_bench_exchange(Communicator& world, const BenchRowsOptions& options) {
  ENGRAM_CHECK(world.size() >= 2, "bench exchange: 1 rank; wanted at least 2, by mpirun");
  const RunConfig config = row_config(options);
  open_records(world, options.json);
  const RowSource source(options, config);
  const std::unique_ptr<Communicator> cards = make_cards(config, world);
  Communicator& group = cards ? *cards : world;
  Stream stream = make_compute_stream(config, world);
  for (const RowCase& point : source.cases()) {
    ExchangePath path(stream, group, source, point);
    const std::vector<RowStage> stages = path.measure();
    if (world.rank() != 0) continue;
    const auto row_bytes = static_cast<double>(point.width * size_of(source.values()));
    std::cout << fmt::format(
        "\n{} tokens x {} rows by {}, rows of {} {}, {} ranks, of which rank 0: {} distinct\n"
        "a fetch brings it {}B; {}B without deduplication\n{}",
        point.tokens, point.rows_per_token, source.text(point), point.width, name_of(source.values()), world.size(),
        path.stats().unique, scaled_text(static_cast<double>(path.num_remote()) * row_bytes),
        scaled_text(static_cast<double>(path.num_remote_requests()) * row_bytes), row_stage_heading("all-to-all"));
    auto record = source.record("exchange", stream, world.size(), point);
    record["unique"] = path.stats().unique;
    record["remote"] = path.num_remote();
    record["remote_requests"] = path.num_remote_requests();
    for (const RowStage& stage : stages) {
      std::cout << row_stage_line(stage);
      append_stage(options.json, record, stage);
    }
    std::cout << std::flush;
  }
}

}  // namespace engram
