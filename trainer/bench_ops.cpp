#include "trainer/bench_ops.h"

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/core/rng.h"
#include "kernels/random_fill.h"
#include "trainer/bench_record.h"
#include "trainer/bench_timing.h"
#include "trainer/config.h"
#include "trainer/progress.h"

namespace engram {
namespace {

struct OpResult {
  Spread seconds;
  double bytes = 0, flops = 0;
};

int64_t bytes_of_set(const BenchOp& op, const RunConfig& config, DType dtype) {
  Stream stream = DryQueue{};
  Arena arena = Arena::dry();
  OpInputs inputs(stream, arena, config, dtype);
  op.make(inputs);
  return arena.peak_bytes();
}

OpResult measure(const BenchOp& op, Stream& stream, const RunConfig& config, DType dtype) {
  const int64_t set_bytes = bytes_of_set(op, config, dtype);
  const int64_t num_sets = num_cold_sets(stream, set_bytes);
  Arena arena(device_of(stream), num_sets * set_bytes);
  std::deque<OpInputs> sets;
  std::vector<std::function<void()>> calls;
  OpResult result;
  for (int64_t i = 0; i < num_sets; ++i) {
    OpInputs& inputs = sets.emplace_back(stream, arena, config, dtype);
    calls.push_back(op.make(inputs));
    result.bytes = inputs.num_bytes();
    result.flops = inputs.flops;
  }
  synchronize(stream);
  size_t next = 0;
  result.seconds = seconds_per_call(stream, [&] { calls[next++ % calls.size()](); });
  return result;
}

void print(const BenchOp& op, const OpResult& r, const MachineRates& rates) {
  const bool by_flops = r.flops > 0;
  const double rate = (by_flops ? r.flops : r.bytes) / r.seconds.median;
  std::cout << fmt::format("{:>10.4f} {:>10.4f} {:>10.4f} {:>8}{} {:>6.1f}%  {}\n", r.seconds.median * 1e3,
                           r.seconds.p10 * 1e3, r.seconds.p90 * 1e3, scaled_text(rate), by_flops ? "FLOP/s" : "B/s   ",
                           100 * rate / (by_flops ? rates.matmul_flops : rates.copy_bytes), op.name)
            << std::flush;
}

}  // namespace

Tensor OpInputs::random(std::initializer_list<int64_t> shape, DType type) {
  const Tensor x = arena.take("bench", type, shape);
  fill_normal(stream, x, {.domain = RandomDomain::kSampling, .tensor = number_++});
  return x;
}

Tensor OpInputs::count(const Tensor& x) {
  num_bytes_ += static_cast<double>(x.num_bytes());
  return x;
}

Tensor OpInputs::held(std::initializer_list<int64_t> shape, DType type) {
  const Tensor x = arena.take("bench", type, shape);
  zero(stream, x);
  return x;
}

Tensor OpInputs::both_zero(std::initializer_list<int64_t> shape) {
  return count(count(held(shape, accumulator(dtype))));
}

Tensor OpInputs::upload(const void* host, const Tensor& to) {
  Tensor from = to;
  from.data = const_cast<void*>(host);  // read only
  copy(stream, from, to);
  synchronize(stream);  // the host values end with the caller
  return to;
}

Tensor OpInputs::values(std::vector<double> numbers) {
  return upload(numbers.data(), arena.take("bench", DType::kFloat64, {static_cast<int64_t>(numbers.size())}));
}

Tensor OpInputs::progression(int64_t count_of_it, int64_t step) {
  const Tensor to = arena.take("bench", DType::kInt64, {count_of_it});
  if (is_dry(stream)) return to;
  std::vector<int64_t> numbers(static_cast<size_t>(count_of_it));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int64_t>(i) * step;
  return upload(numbers.data(), to);
}

Tensor OpInputs::in_ids(DType type, std::initializer_list<int64_t> shape, int64_t end, bool zipf) {
  const Tensor ids = arena.take("bench", type, shape);
  if (is_dry(stream)) return ids;
  const std::vector<int64_t> wide = draw(ids.numel(), end, zipf);
  if (type == DType::kInt64) return count(upload(wide.data(), ids));
  const std::vector<int32_t> narrow(wide.begin(), wide.end());
  return count(upload(narrow.data(), ids));
}

std::vector<int64_t> OpInputs::draw(int64_t draws, int64_t end, bool zipf) {
  std::vector<int64_t> ids(static_cast<size_t>(draws));
  const auto size = static_cast<double>(end);
  for (size_t i = 0; i < ids.size(); ++i) {
    const double u = double{uniform(philox(number_, i, 0).word[0])};
    ids[i] = static_cast<int64_t>(zipf ? std::exp(u * std::log(size)) - 1 : u * size);
  }
  ++number_;
  return ids;
}

RowSegments OpInputs::in_segments(int64_t num_values, int64_t num_rows) {
  const RowSegments segments{.order = arena.take("bench", DType::kInt32, {num_values}),
                             .offsets = arena.take("bench", DType::kInt32, {num_rows + 1})};
  if (is_dry(stream)) return segments;
  const std::vector<int64_t> rows = draw(num_values, num_rows, /*zipf=*/true);
  std::vector<int32_t> order(rows.size()), offsets(static_cast<size_t>(num_rows) + 1);
  for (const int64_t row : rows) ++offsets[static_cast<size_t>(row) + 1];
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return rows[static_cast<size_t>(a)] < rows[static_cast<size_t>(b)]; });
  return {.order = count(upload(order.data(), segments.order)),
          .offsets = count(upload(offsets.data(), segments.offsets))};
}

void run_bench_ops(Communicator& world, const BenchOpsCommand& command) {
  ENGRAM_CHECK(world.size() == 1, "bench ops: ", world.size(), " ranks; wanted 1");
  const RunConfig config = load_config(command.config, command.sets);
  open_records(world, command.json);
  const bool on_cuda = config.device == DeviceChoice::kCuda;
  const DType dtype = on_cuda ? DType::kBFloat16 : DType::kFloat32;
  Stream stream = make_stream(on_cuda ? Device::kCuda : Device::kCpu);
  const MachineRates rates = measure_rates(stream, world);
  std::cout << fmt::format("matrix product {}FLOP/s ({}), copy {}B/s\n\n{:>10} {:>10} {:>10} {:>14} {:>7}  op\n",
                           scaled_text(rates.matmul_flops), rates.matmul_text, scaled_text(rates.copy_bytes),
                           "median ms", "p10", "p90", "rate", "share");
  for (const BenchOp& op : bench_op_table(config)) {
    if (op.name.find(command.filter) == std::string::npos) continue;
    const OpResult result = measure(op, stream, config, dtype);
    print(op, result, rates);
    auto record = bench_record("op", stream, 1, command.line);
    record["name"] = op.name;
    record["config"] = command.config;
    record["config_hash"] = config_digest(config);
    record["unit"] = "seconds";
    record["median"] = result.seconds.median;
    record["p10"] = result.seconds.p10;
    record["p90"] = result.seconds.p90;
    record["bytes"] = result.bytes;
    record["flops"] = result.flops;
    add_rates(record, rates);
    append_record(command.json, record);
  }
}

}  // namespace engram
