#include "trainer/bench_table.h"

#include <fmt/format.h>

#include <deque>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/core/device.h"
#include "kernels/random_fill.h"
#include "kernels/row_gather.h"
#include "kernels/row_segment_sum.h"
#include "kernels/update_control.h"
#include "parallel/memory_table.h"
#include "parallel/self_communicator.h"
#include "trainer/bench_record.h"
#include "trainer/bench_rows.h"
#include "trainer/compute.h"
#include "trainer/progress.h"
#include "trainer/table_optimizer.h"

namespace engram {
namespace {

constexpr int64_t kPiece = 64;                          // bytes that memory gives at once
constexpr double kMostCopiedBytes = double(1ll << 31);  // more is copied no faster

constexpr TableOptimizerKind kKinds[] = {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kRowwiseAdam,
                                         TableOptimizerKind::kRowwiseAdagrad, TableOptimizerKind::kSgd,
                                         TableOptimizerKind::kAdamDense};

double in_pieces(int64_t num_bytes) { return static_cast<double>((num_bytes + kPiece - 1) / kPiece * kPiece); }

// What one step asks for, and the memory that it goes through.
struct Requests {
  Tensor rows;      // [n] global rows
  Tensor fetched;   // [num_unique, width]
  Tensor expanded;  // [n, width] the row of each request
  Tensor grads;     // [n, width] its gradient
  Tensor sums;      // [num_unique, width]
  RowPlan plan;
  ReusedBuffer rows_memory, expanded_memory, grads_memory, sums_memory;
};

// The path at one point of the sweep, on the requests of several steps in turn.
class TablePath {
 public:
  TablePath(Stream& stream, const RowSource& source, const RowCase& point);

  std::vector<RowStage> measure();
  double num_unique() const { return num_unique_; }  // of a step, on average
  const MemoryTable& table() const { return table_; }

 private:
  using Work = std::function<void(Requests&)>;

  void add(const std::string& name, double bytes, const Work& work);
  void add_optimizer(TableOptimizerKind kind);

  void plan(Requests& r) { exchange_.plan(stream_, r.rows, r.plan); }
  void fetch(Requests& r) { r.fetched = exchange_.begin_fetch(stream_, table_.weight(), r.plan).wait(stream_); }
  void expand(Requests& r) { row_gather(stream_, r.fetched, r.plan.inverse(), r.expanded); }
  void sum(Requests& r) { row_segment_sum(stream_, r.grads, r.plan.segments(), r.sums); }
  void update(Requests& r, const TableOptimizer& optimizer) {
    const Tensor merged = exchange_.return_gradients(stream_, r.sums, r.plan).wait(stream_);
    optimizer.update(stream_, control_, r.plan.own_slots(), merged);
  }

  Stream& stream_;
  SelfCommunicator self_;
  RowLayout layout_;
  DType values_;
  MemoryTable table_;
  RowExchange exchange_;
  Buffer control_memory_;
  Tensor control_;
  std::deque<Requests> requests_;
  size_t next_ = 0;
  double num_requests_ = 0, num_unique_ = 0;
  std::map<double, double> copy_rates_;  // by bytes
  std::vector<RowStage> stages_;
};

TablePath::TablePath(Stream& stream, const RowSource& source, const RowCase& point)
    : stream_(stream),
      layout_(point.rows_per_table, 1),
      values_(source.values()),
      table_(stream, layout_, 0, {.width = point.width, .dtype = DType::kFloat32, .deviation = 1.0}),
      exchange_(self_, layout_, {.width = point.width, .dtype = values_}),
      control_memory_(device_of(stream), kNumUpdateControls * size_of(DType::kFloat64)),
      control_(control_memory_.tensor(DType::kFloat64, {kNumUpdateControls})) {
  const Device device = device_of(stream);
  const int64_t n = point.requests(), num_sets = num_cold_sets(stream, n * point.width * size_of(values_));
  double control[] = {1, 1, 5, 1};  // applied, with no clipping, as the fifth update, at the peak rate
  copy(stream, Tensor(control, DType::kFloat64, {kNumUpdateControls}), control_);
  for (int64_t i = 0; i < num_sets; ++i) {
    Requests& r = requests_.emplace_back();
    std::vector<int64_t> rows = source.rows(point, layout_, i);
    r.rows = r.rows_memory.take(device, DType::kInt64, {n});
    copy(stream, Tensor(rows.data(), DType::kInt64, {n}), r.rows);
    plan(r);
    r.expanded = r.expanded_memory.take(device, values_, {n, point.width});
    r.grads = r.grads_memory.take(device, values_, {n, point.width});
    r.sums = r.sums_memory.take(device, DType::kFloat32, {r.plan.num_unique(), point.width});
    fill_normal(stream, r.grads, {.domain = RandomDomain::kSampling, .tensor = static_cast<uint32_t>(i)});
    fetch(r);
    sum(r);
    num_requests_ += static_cast<double>(r.plan.stats().requests) / static_cast<double>(num_sets);
    num_unique_ += static_cast<double>(r.plan.num_unique()) / static_cast<double>(num_sets);
  }
  synchronize(stream);
}

void TablePath::add(const std::string& name, double bytes, const Work& work) {
  RowStage stage{.name = name, .seconds = {}, .bytes = bytes};
  stage.seconds = seconds_per_call(stream_, [&] { work(requests_[next_++ % requests_.size()]); });
  double& rate = copy_rates_[std::min(bytes, kMostCopiedBytes)];
  if (rate == 0) rate = copy_rate(stream_, static_cast<int64_t>(std::min(bytes, kMostCopiedBytes)));
  stage.limit = rate;
  stages_.push_back(stage);
}

std::vector<RowStage> TablePath::measure() {
  const double n = num_requests_, u = num_unique_, row_number = size_of(DType::kInt64), place = size_of(DType::kInt32);
  const double table_row = in_pieces(table_.width() * size_of(DType::kFloat32));
  const auto value_row = static_cast<double>(table_.width() * size_of(values_));
  const auto sum_row = static_cast<double>(table_.width() * size_of(DType::kFloat32));
  add("plan", n * (2 * row_number + place) + u * (row_number + place), [&](Requests& r) { plan(r); });
  add("gather unique rows", u * (row_number + table_row + value_row), [&](Requests& r) { fetch(r); });
  add("expand to requests", n * (row_number + value_row) + u * value_row, [&](Requests& r) { expand(r); });
  add("sum gradients", n * (place + value_row) + u * sum_row, [&](Requests& r) { sum(r); });
  for (const TableOptimizerKind kind : kKinds) add_optimizer(kind);
  return stages_;
}

// The update alone, and for the default also what it is a part of.
void TablePath::add_optimizer(TableOptimizerKind kind) {
  OptimizerConfig config;
  config.table.kind = kind;
  const TableOptimizer optimizer(stream_, config, table_.weight());
  for (const OptimizerArray& array : optimizer.state()) {
    const bool is_mean = array.name == "m", is_count = array.value.dtype == DType::kInt32;
    const RandomFill fill{.domain = RandomDomain::kSampling, .mean = is_mean ? 0.0 : 1.0, .deviation = 0.1};
    if (!is_count) fill_normal(stream_, array.value, fill);
  }
  const int64_t width = table_.width(), wide = size_of(DType::kFloat32);
  const double n = num_requests_, u = num_unique_;
  const double state = static_cast<double>(table_state_bytes_per_row(kind, width, DType::kFloat32));
  const double in_place = 2 * (in_pieces(width * wide) + state), grad_row = static_cast<double>(width * wide);
  const double value_row = static_cast<double>(width * size_of(values_));
  const bool is_dense = kind == TableOptimizerKind::kAdamDense;
  const double rows = is_dense ? static_cast<double>(table_.num_slots()) : u;
  const std::string name(enum_name(kind));
  add("update by " + name, rows * in_place + u * grad_row, [&](Requests& r) { update(r, optimizer); });
  if (kind != TableOptimizerKind::kAdamLazy) return;
  add("sum gradients, update by " + name, n * value_row + u * in_place, [&](Requests& r) {
    sum(r);
    update(r, optimizer);
  });
  add("whole path, " + name, 2 * n * value_row + u * (in_pieces(width * wide) + in_place), [&](Requests& r) {
    plan(r);
    fetch(r);
    expand(r);
    sum(r);
    update(r, optimizer);
  });
}

}  // namespace

void run_bench_table(Communicator& world, const BenchTableCommand& command) {
  const BenchRowsOptions& options = command.options;
  ENGRAM_CHECK(world.size() == 1, "bench table: ", world.size(), " ranks; wanted 1, see bench exchange");
  const RunConfig config = row_config(options);
  open_records(world, options.json);
  const RowSource source(options, config);
  make_cards(config, world);  // throws where there is none
  Stream stream = make_compute_stream(config, world);
  if (!command.ids.empty()) write_ids(command.ids, source);
  for (const RowCase& point : source.cases()) {
    TablePath path(stream, source, point);
    const auto unique = static_cast<int64_t>(path.num_unique());
    std::cout << fmt::format("\n{} rows of {} float32 ({}B), {} tokens x {} rows by {}: {} distinct; values {}\n{}",
                             path.table().num_slots(), point.width,
                             scaled_text(static_cast<double>(path.table().weight().num_bytes())), point.tokens,
                             point.rows_per_token, source.text(point), unique, name_of(source.values()),
                             row_stage_heading("copy"));
    auto record = source.record("table", stream, 1, point);
    record["unique"] = unique;
    for (const RowStage& stage : path.measure()) {
      std::cout << row_stage_line(stage) << std::flush;
      append_stage(options.json, record, stage);
    }
  }
}

}  // namespace engram
