#include "trainer/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/global_norm.h"
#include "kernels/sum.h"
#include "trainer/schedule.h"

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

double read_scalar(Stream& stream, const Tensor& scalar) {
  double value = 0;
  copy(stream, scalar, Tensor(&value, DType::kFloat64, {1}));
  synchronize(stream);
  return value;
}

Tensor zero_scalar(Replica& r, const char* name) {
  const Tensor scalar = r.arena.take(name, DType::kFloat64, {1});
  zero(r.stream, scalar);
  return scalar;
}

double squared_norm(Replica& r, const Tensor& x) {
  const Tensor total = zero_scalar(r, "squared_norm");
  sum_of_squares(r.stream, x, total);
  return read_scalar(r.stream, total);
}

// Sums over all ranks; the squares count every parameter once, at its owner.
struct GlobalSums {
  double loss = 0;
  double dense_squares = 0;
  double table_squares = 0;
  double unique_rows = 0;
  double requested_rows = 0;
  double gates = 0;
};

GlobalSums sum_over_ranks(Communicator& world, const GlobalSums& mine) {
  double values[] = {mine.loss,        mine.dense_squares,  mine.table_squares,
                     mine.unique_rows, mine.requested_rows, mine.gates};
  all_reduce_sum<double>(world, values);
  return {values[0], values[1], values[2], values[3], values[4], values[5]};
}

// Factors for the gradients of the dense part and of the tables.
struct ClipFactors {
  double dense = 1;
  double table = 1;
};

ClipFactors clip_factors(const ClipConfig& config, const GlobalSums& sums) {
  const auto factor = [&](double squares) {
    return config.norm == 0 ? 1.0 : std::min(1.0, config.norm / (std::sqrt(squares) + 1e-6));
  };
  if (config.scope == ClipScope::kSeparate) return {factor(sums.dense_squares), factor(sums.table_squares)};
  const double both = factor(sums.dense_squares + sums.table_squares);
  return {both, both};
}

// The load of every mixture of experts, summed over the ranks in place.
void reduce_loads(Replica& r, StepReport& report) {
  int64_t num_dead = 0, num_experts = 0;
  for (const Moe* moe : r.model.mixtures()) {
    std::vector<int64_t> load(static_cast<size_t>(moe->load().size(0)));
    const Tensor host(load.data(), DType::kInt64, {moe->load().size(0)});
    copy(r.stream, moe->load(), host);
    synchronize(r.stream);
    all_reduce_sum<int64_t>(r.world, load);
    copy(r.stream, host, moe->load());
    const auto total = static_cast<double>(std::accumulate(load.begin(), load.end(), int64_t{0}));
    const auto largest = static_cast<double>(*std::max_element(load.begin(), load.end()));
    report.experts_max_over_mean =
        std::max(report.experts_max_over_mean, largest * static_cast<double>(load.size()) / total);
    num_dead += std::count(load.begin(), load.end(), 0);
    num_experts += static_cast<int64_t>(load.size());
  }
  if (num_experts > 0) report.experts_dead = static_cast<double>(num_dead) / static_cast<double>(num_experts);
}

// Gates of a global batch: one per token, Engram layer and stream.
double num_gates(const RunConfig& config) {
  return static_cast<double>(config.train.global_batch * config.data.seq_len * config.model.connections.streams) *
         static_cast<double>(config.model.engram.layers.size());
}

// Forward and backward of the local batch, micro-batch by micro-batch. Sums this rank's losses and gates.
void accumulate_gradients(Replica& r, const StepBatch& batch, GlobalSums& mine) {
  const TrainConfig& train = r.config.train;
  const double grad_scale = 1.0 / static_cast<double>(train.global_batch * r.config.data.seq_len);
  const Tensor loss_sum = zero_scalar(r, "loss_sum"), gate_sum = zero_scalar(r, "gate_sum");
  for (int64_t i = 0; i < batch.num_sequences / train.micro_batch; ++i) {
    Arena::Scope scope(r.arena);
    MicroBatch micro_batch = batch.micro_batch(i * train.micro_batch, train.micro_batch);
    if (r.memory) micro_batch.memory = r.memory->micro_batch(i);
    Context ctx{.stream = r.stream,
                .arena = r.arena,
                .num_sequences = train.micro_batch,
                .seq_len = batch.seq_len,
                .count_statistics = true,
                .gate_sum = gate_sum};
    run_micro_batch(r.model, ctx, micro_batch, grad_scale, loss_sum);
  }
  mine.loss = read_scalar(r.stream, loss_sum);
  mine.gates = read_scalar(r.stream, gate_sum);
}

// Dense parameters on their owners, then everywhere; table rows on their owners; router biases everywhere.
void update(Replica& r, const ClipFactors& clip, StepReport& report) {
  const int64_t t = ++r.applied_updates;
  const double ratio = learning_rate_ratio(r.config.optimizer.schedule, t, r.config.train.steps);
  report.lr = r.config.optimizer.dense.lr * ratio;
  r.dense_optimizer.update(r.stream, {.lr = report.lr, .grad_scale = clip.dense, .step = t},
                           r.reducer.own_part(r.store.values()), r.reducer.own_part(r.store.grads()));
  Pending gather = r.reducer.all_gather(r.stream, r.store.values());
  if (r.memory) {
    r.memory->update(r.stream,
                     {.lr = report.lr * r.config.optimizer.table.lr_mult, .grad_scale = clip.table, .step = t});
  }
  for (const Moe* moe : r.model.mixtures()) moe->update_bias(r.stream);
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
    r.memory->begin_fetch(r.stream, r.arena, batch, r.config.train.micro_batch);
  }

  GlobalSums mine;
  zero(r.stream, r.store.grads());
  accumulate_gradients(r, batch, mine);

  Pending reduce = r.reducer.reduce_scatter(r.stream, r.store.grads());
  if (r.memory) {
    Stopwatch watch(report.seconds_exchange);
    mine.table_squares = squared_norm(r, r.memory->return_gradients(r.stream));
    mine.unique_rows = static_cast<double>(r.memory->stats().unique);
    mine.requested_rows = static_cast<double>(r.memory->stats().requests);
    report.seconds_exchange += r.memory->seconds_waited();
  }
  {
    Stopwatch watch(report.seconds_reduce);
    reduce.wait();
  }
  mine.dense_squares = squared_norm(r, r.reducer.own_part(r.store.grads()));
  const GlobalSums sums = sum_over_ranks(r.world, mine);
  reduce_loads(r, report);

  report.loss = sums.loss / static_cast<double>(r.config.train.global_batch * r.config.data.seq_len);
  report.norm = std::sqrt(sums.dense_squares + sums.table_squares);
  if (sums.requested_rows > 0) report.unique_rows = sums.unique_rows / sums.requested_rows;
  if (r.memory) report.mean_gate = sums.gates / num_gates(r.config);
  report.skipped = !std::isfinite(report.loss) || !std::isfinite(report.norm);
  if (report.skipped) {
    for (const Moe* moe : r.model.mixtures()) zero(r.stream, moe->load());
  } else {
    update(r, clip_factors(r.config.optimizer.clip, sums), report);
  }
  ++r.step;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

}  // namespace engram
