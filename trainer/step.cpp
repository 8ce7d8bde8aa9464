#include "trainer/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/global_norm.h"
#include "kernels/router.h"
#include "kernels/sum.h"

namespace engram {
namespace {

// Adds the seconds of its life to a total.
class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total) {}
  ~Stopwatch() { total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& total_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Adds how evenly the tokens went to the experts: [num_mixtures, num_experts], over all ranks.
void report_loads(const std::vector<int64_t>& loads, int64_t num_experts, StepReport& report) {
  if (loads.empty()) return;
  for (auto begin = loads.begin(); begin != loads.end(); begin += num_experts) {
    const auto total = static_cast<double>(std::accumulate(begin, begin + num_experts, int64_t{0}));
    const auto largest = static_cast<double>(*std::max_element(begin, begin + num_experts));
    report.experts_max_over_mean =
        std::max(report.experts_max_over_mean, largest * static_cast<double>(num_experts) / total);
  }
  report.experts_dead =
      static_cast<double>(std::count(loads.begin(), loads.end(), 0)) / static_cast<double>(loads.size());
}

// Gates of a global batch: one per token, Engram layer and stream.
double num_gates(const RunConfig& config) {
  return static_cast<double>(config.train.global_batch * config.data.seq_len * config.model.connections.streams) *
         static_cast<double>(config.model.engram.layers.size());
}

// What the report says of the step's sums and decisions.
void report_values(const RunConfig& config, const StepState::Values& values, StepReport& report) {
  report.loss = values.loss / static_cast<double>(config.train.global_batch * config.data.seq_len);
  report.norm = std::sqrt(values.dense_squares + values.table_squares);
  report.skipped = !values.applied;
  if (values.applied) report.lr = config.optimizer.dense.lr * values.lr_ratio;
  if (values.requested_rows > 0) report.unique_rows = values.unique_rows / values.requested_rows;
  if (config.model.engram.enabled()) report.mean_gate = values.gates / num_gates(config);
  report_loads(values.loads, config.model.moe.num_experts, report);
}

// Forward and backward of the local batch, micro-batch by micro-batch.
void accumulate_gradients(Replica& r, const StepBatch& batch) {
  const TrainConfig& train = r.config.train;
  const double grad_scale = 1.0 / static_cast<double>(train.global_batch * r.config.data.seq_len);
  for (int64_t i = 0; i < batch.num_sequences / train.micro_batch; ++i) {
    Arena::Scope scope(r.arena);
    MicroBatch micro_batch = batch.micro_batch(i * train.micro_batch, train.micro_batch);
    if (r.memory) micro_batch.memory = r.memory->micro_batch(i);
    Context ctx{.stream = r.stream,
                .arena = r.arena,
                .num_sequences = train.micro_batch,
                .seq_len = batch.seq_len,
                .count_statistics = true,
                .loads = r.state.loads(),
                .gate_sum = r.state.sum(StepSum::kGates)};
    run_micro_batch(r.model, ctx, micro_batch, grad_scale, r.state.sum(StepSum::kLoss));
  }
}

// Unless the step is skipped: dense parameters on their owners, then everywhere; table rows on their owners; router
// biases everywhere.
void update(Replica& r, StepReport& report) {
  r.dense_optimizer.update(r.stream, r.state.dense_control(), r.reducer.own_part(r.store.values()),
                           r.reducer.own_part(r.store.grads()));
  Pending gather = r.reducer.all_gather(r.stream, r.store.values());
  if (r.memory) r.memory->update(r.stream, r.state.table_control());
  const Tensor &loads = r.state.loads(), &biases = r.store.state_values();
  if (loads.numel() > 0) {
    router_update_bias(r.stream, r.state.dense_control(), loads, r.config.model.moe.bias_update_rate,
                       biases.reshape({loads.size(0), loads.size(1)}));
  }
  Stopwatch watch(report.seconds_reduce);
  gather.wait();
}

}  // namespace

void run_micro_batch(const LanguageModel& model, Context& ctx, const MicroBatch& batch, double grad_scale,
                     const Tensor& loss_sum) {
  LanguageModel::Saved saved;
  const Tensor hidden = model.forward(ctx, batch, saved);
  const Tensor losses = ctx.arena.take("losses", accumulator(hidden.dtype), {ctx.num_tokens()});
  const Tensor dhidden = model.loss(ctx, hidden, batch.targets, {.grad_scale = grad_scale}, losses);
  sum(ctx.stream, losses, loss_sum);
  model.backward(ctx, dhidden, batch, saved);
}

Batch next_batch(const Replica& r, const BatchLoader& loader) {
  const int64_t first = r.step * r.config.train.global_batch + r.world.rank() * r.local_sequences();
  return loader.load(first, r.local_sequences());
}

StepReport train_step(Replica& r, const Batch& local_batch) {
  Arena::Scope scope(r.arena);
  const auto begin = std::chrono::steady_clock::now();
  StepReport report{.step = r.step + 1};

  const StepBatch batch = upload(r.stream, r.arena, local_batch, r.config.model.engram.boundary);
  if (r.memory) {
    Stopwatch watch(report.seconds_exchange);
    r.memory->begin_fetch(r.stream, batch, r.config.train.micro_batch);
  }

  zero(r.stream, r.store.grads());
  r.state.begin(r.stream);
  accumulate_gradients(r, batch);

  Pending reduce = r.reducer.reduce_scatter(r.stream, r.store.grads());
  if (r.memory) {
    Stopwatch watch(report.seconds_exchange);
    sum_of_squares(r.stream, r.memory->return_gradients(r.stream), r.state.sum(StepSum::kTableSquares));
    r.state.set_row_counts(r.stream, r.memory->stats().unique, r.memory->stats().requests);
    report.seconds_exchange += r.memory->seconds_waited();
  }
  {
    Stopwatch watch(report.seconds_reduce);
    reduce.wait();
  }
  sum_of_squares(r.stream, r.reducer.own_part(r.store.grads()), r.state.sum(StepSum::kDenseSquares));

  r.state.reduce(r.stream, r.world);
  r.state.decide(r.stream);
  update(r, report);

  report_values(r.config, r.state.read(r.stream), report);
  ++r.step;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

}  // namespace engram
