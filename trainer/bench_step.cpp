#include "trainer/bench_step.h"

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/core/device.h"
#include "kernels/core/device_info.h"
#include "kernels/core/op_profile.h"
#include "kernels/core/timeline.h"
#include "model/accounting.h"
#include "trainer/bench_batches.h"
#include "trainer/bench_record.h"
#include "trainer/bench_timing.h"
#include "trainer/compute.h"
#include "trainer/config.h"
#include "trainer/config_fields.h"
#include "trainer/progress.h"
#include "trainer/step.h"

namespace engram {
namespace {

constexpr int64_t kProfiledSteps = 3;

// Steps to take where the command line does not say: on CUDA as many as a figure to quote needs.
struct StepCounts {
  int64_t warmup = 2, steps = 10;
};

StepCounts counts_of(const BenchStepCommand& command, const RunConfig& config) {
  StepCounts counts;
  if (config.device == DeviceChoice::kCuda) counts = {.warmup = 10, .steps = 20};
  if (command.warmup) counts.warmup = *command.warmup;
  if (command.steps) counts.steps = *command.steps;
  return counts;
}

struct Result {
  StepCounts counts;
  Spread step;                      // seconds
  double seconds_whole = 0;         // a step's share of the whole run
  double exchange = 0, reduce = 0;  // medians, seconds
  std::vector<double> losses;       // of every step, warm-up included
  int64_t memory_bytes = 0;
  MachineRates rates;

  double tokens = 0;  // of a step
  double flops_per_token = 0;
  double num_ranks = 0;
  // Of a rank.
  double flops_per_second() const { return tokens * flops_per_token / step.median / num_ranks; }
};

double host_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// This rank's parts of the global batches of steps [first, first + count).
std::vector<Batch> load_batches(const Replica& r, const BenchBatches& source, int64_t first, int64_t count) {
  std::vector<Batch> batches;
  for (int64_t step = first; step < first + count; ++step) {
    batches.push_back(
        source.load(step * r.config.train.global_batch + r.world.rank() * r.local_sequences(), r.local_sequences()));
  }
  return batches;
}

// Takes a step over each batch, as training does: the next one is begun before it, and the one before reported while it
// runs.
template <class BeforeStep>
std::vector<StepReport> take_steps(Replica& r, const std::vector<Batch>& batches, BeforeStep&& before_step) {
  std::vector<StepReport> reports;
  std::optional<PendingReport> running;
  PreparedStep next = begin_prepare(r, batches[0]);
  for (size_t i = 0; i < batches.size(); ++i) {
    PreparedStep prepared = next;
    finish_prepare(r, prepared);
    if (i + 1 < batches.size()) next = begin_prepare(r, batches[i + 1]);
    before_step(static_cast<int64_t>(i));
    PendingReport issued = train_step(r, prepared);
    if (running) reports.push_back(running->wait());
    running = issued;
  }
  reports.push_back(running->wait());
  return reports;
}

void measure_steps(Replica& r, const BenchBatches& source, Result& result) {
  const StepCounts& counts = result.counts;
  const std::vector<Batch> batches = load_batches(r, source, 0, counts.warmup + counts.steps);
  std::vector<double> exchange, reduce, seconds;
  Timeline timeline;
  double begin = 0;
  const std::vector<StepReport> reports = take_steps(r, batches, [&](int64_t step) {
    if (step == counts.warmup) {
      synchronize(r.stream);
      r.world.barrier();
      begin = host_seconds();
    }
    if (step >= counts.warmup) timeline.mark(r.stream);
  });
  timeline.mark(r.stream);
  synchronize(r.stream);
  r.world.barrier();
  result.seconds_whole = (host_seconds() - begin) / static_cast<double>(counts.steps);
  for (const StepReport& report : reports) {
    result.losses.push_back(report.loss);
    if (report.step <= counts.warmup) continue;
    exchange.push_back(report.seconds_exchange);
    reduce.push_back(report.seconds_reduce);
  }
  for (int64_t i = 0; i < counts.steps; ++i) seconds.push_back(timeline.seconds(i, i + 1));
  result.step = spread_of(seconds);
  result.exchange = spread_of(exchange).median;
  result.reduce = spread_of(reduce).median;
}

void print(const RunConfig& config, const Result& result, int64_t card_bytes) {
  const double flops = result.flops_per_second();
  std::cout << fmt::format(
      "step                     {:.2f} ms (median of {} after {}; p10 {:.2f}, p90 {:.2f}), {:.2f} ms over the whole\n"
      "rate                     {} tok/s, {} model FLOP/s on {} ranks\n",
      result.step.median * 1e3, result.counts.steps, result.counts.warmup, result.step.p10 * 1e3, result.step.p90 * 1e3,
      result.seconds_whole * 1e3, scaled_text(result.tokens / result.step.median),
      scaled_text(flops * result.num_ranks), result.num_ranks);
  if (config.device == DeviceChoice::kCuda) {
    std::cout << fmt::format("share of 989 TFLOP/s     {:.2f} %\n", 100 * flops / kDataSheetFlops);
  }
  std::cout << fmt::format(
      "share of matrix product  {:.2f} % of {} FLOP/s a rank ({}, random, in this run)\n"
      "copy                     {}B/s read and written, in this run\n"
      "memory                   {:.2f} of {:.2f} GiB\n"
      "row exchange             {:.2f} % of the step\n"
      "dense reduction          {:.2f} % of the step\n"
      "loss                     {:.4f} at the first step, {:.4f} at the last\n",
      100 * flops / result.rates.matmul_flops, scaled_text(result.rates.matmul_flops), result.rates.matmul_text,
      scaled_text(result.rates.copy_bytes), static_cast<double>(result.memory_bytes) / (1 << 30),
      static_cast<double>(card_bytes) / (1 << 30), 100 * result.exchange / result.step.median,
      100 * result.reduce / result.step.median, result.losses.front(), result.losses.back());
}

void append_json(const Replica& r, const RunConfig& config, const BenchStepCommand& command, const Result& result) {
  const double flops = result.flops_per_second();
  auto record = bench_record("step", r.stream, r.world.size(), command.line);
  record["name"] = config.run.name;
  record["config"] = command.config;
  record["config_hash"] = config_digest(config);
  record["data"] = config.data.train.empty() ? "zipf" : stores_text(config.data.train);
  record["tokens_per_step"] = result.tokens;
  record["flops_per_token"] = result.flops_per_token;
  record["warmup"] = result.counts.warmup;
  record["steps"] = result.counts.steps;
  record["unit"] = "seconds";
  record["median"] = result.step.median;
  record["p10"] = result.step.p10;
  record["p90"] = result.step.p90;
  record["whole"] = result.seconds_whole;
  record["tokens_per_second"] = result.tokens / result.step.median;
  record["flops_per_second_per_device"] = flops;
  record["mfu"] = flops / kDataSheetFlops;
  add_rates(record, result.rates);
  record["share_of_matmul"] = flops / result.rates.matmul_flops;
  record["memory_bytes"] = result.memory_bytes;
  record["losses"] = result.losses;
  append_record(command.json, record);
}

// Some more steps with every op timed; rank 0 prints its own.
void print_profile(Replica& r, const BenchBatches& source) {
  OpProfile profile;
  set_profile(r.stream, &profile);
  const double begin = host_seconds();
  take_steps(r, load_batches(r, source, r.step, kProfiledSteps), [](int64_t) {});
  synchronize(r.stream);
  const double seconds = (host_seconds() - begin) / kProfiledSteps;
  set_profile(r.stream, nullptr);
  if (r.world.rank() != 0) return;
  double in_ops = 0;
  std::cout << fmt::format("\n{:>8} {:>10} {:>7} {:>9}  op, per step\n", "calls", "ms", "share", "FLOP/s");
  for (const OpProfile::Line& line : profile.lines()) {
    const double mine = line.seconds / kProfiledSteps;
    in_ops += mine;
    std::cout << fmt::format("{:>8.1f} {:>10.3f} {:>6.2f}% {:>9}  {}\n",
                             static_cast<double>(line.calls) / kProfiledSteps, mine * 1e3, 100 * mine / seconds,
                             line.flops > 0 ? scaled_text(line.flops / line.seconds) : "", line.op);
  }
  std::cout << fmt::format("{:>8} {:>10.3f} {:>6.2f}% {:>9}  between ops\n", "", (seconds - in_ops) * 1e3,
                           100 * (seconds - in_ops) / seconds, "");
}

}  // namespace

void run_bench_step(Communicator& world, const BenchStepCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  check_computable(config);
  check_world(config, world.size());
  open_records(world, command.json);
  const BenchBatches source(config);
  RunConfig unsaved = config;
  unsaved.checkpoint.asynchronous = false;  // no save, no copy for it
  Replica replica(unsaved, world, source.vocabulary(), model_dtype(config));

  Result result;
  result.counts = counts_of(command, config);
  result.tokens = static_cast<double>(config.train.global_batch * config.data.seq_len);
  result.flops_per_token = training_flops_per_token(config.model, config.data.seq_len);
  result.num_ranks = world.size();
  measure_steps(replica, source, result);
  result.memory_bytes = memory_in_use(replica.stream);
  result.rates = measure_rates(replica.stream, world);
  if (world.rank() == 0) {
    print(config, result, device_info(replica.stream).memory_bytes);
    append_json(replica, config, command, result);
  }
  if (command.profile) print_profile(replica, source);
}

}  // namespace engram
