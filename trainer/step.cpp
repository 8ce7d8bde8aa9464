#include "trainer/step.h"

#include <optional>

#include "kernels/core/device.h"
#include "kernels/global_norm.h"
#include "kernels/router.h"
#include "kernels/sum.h"
#include "trainer/stopwatch.h"

namespace engram {
namespace {

// The memory that micro-batches of a replica read and write, each its own. Waits for their rows.
WorkGraphs::Key key_of(Stream& stream, const MicroBatch& batch) {
  WorkGraphs::Key key = {batch.tokens.data, batch.targets.data, batch.starts.data};
  if (batch.memory.fetched == nullptr) return key;
  key.push_back(batch.memory.fetched->wait(stream).data);
  for (const Tensor& index : batch.memory.index) key.push_back(index.data);
  for (const Tensor& grads : batch.memory.grads) key.push_back(grads.data);
  return key;
}

// The gradients that ranks sum up while the backward pass goes on: of table rows and of dense parameters.
class GradientSums {
 public:
  GradientSums(Replica& r, StepReport& report) : r_(r), report_(report), is_begun_(r.zero_groups.size(), false) {}

  // Issues those that are complete once backward has passed a layer; -1: all that are left.
  void begin(int64_t layer) {
    if (r_.memory && !rows_ && layer <= r_.config.model.engram.layers.front()) {
      Stopwatch watch(report_.seconds_exchange);
      rows_ = r_.memory->return_gradients(r_.stream);
    }
    for (size_t i = 0; i < is_begun_.size(); ++i) {
      const ZeroGroup& group = r_.zero_groups[i];
      if (is_begun_[i] || group.bucket().first_layer < layer) continue;
      dense_.push_back(group.reduce(r_.stream));
      is_begun_[i] = true;
    }
  }
  // Those of this rank's table rows, for Memory::update().
  Tensor wait_rows() { return rows_->wait(r_.stream); }
  void wait_dense() {
    for (Pending& sums : dense_) sums.wait();
  }

 private:
  Replica& r_;
  StepReport& report_;
  std::optional<PendingRows> rows_;
  std::vector<bool> is_begun_;
  std::vector<Pending> dense_;
};

// Forward and backward of the local batch, micro-batch by micro-batch.
void accumulate_gradients(Replica& r, const StepBatch& batch, GradientSums& sums) {
  const TrainConfig& train = r.config.train;
  const bool has_peers = r.world.size() > 1;  // they exchange rows, experts and gradients, on streams of their own
  const double grad_scale = 1.0 / static_cast<double>(train.global_batch * r.config.data.seq_len);
  const int64_t num_micro_batches = batch.num_sequences / train.micro_batch;
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    Arena::Scope scope(r.arena);
    MicroBatch micro_batch = batch.micro_batch(i * train.micro_batch, train.micro_batch);
    if (r.memory) micro_batch.memory = r.memory->micro_batch(i);
    Context ctx = r.context(train.micro_batch, batch.seq_len);
    ctx.count_statistics = true;
    ctx.loads = r.state.loads();
    ctx.gate_sums = r.state.gate_sums();
    const bool is_last = i + 1 == num_micro_batches;
    if (has_peers && is_last) ctx.on_gradients = [&](int64_t layer) { sums.begin(layer); };
    const auto run = [&] { run_micro_batch(r.model, ctx, micro_batch, grad_scale, r.state.sum(StepSum::kLoss)); };
    if (train.graphs && !has_peers)
      r.graphs.run(r.stream, key_of(r.stream, micro_batch), run);
    else
      run();
  }
}

void count_rows(const RowStats& rows, StepState& state) {
  state.host_sum(StepSum::kUniqueRows) = static_cast<double>(rows.unique);
  state.host_sum(StepSum::kRequestedRows) = static_cast<double>(rows.requests);
  const auto served = static_cast<double>(rows.served);
  state.host_sum(StepSum::kServedRows) = served;
  state.host_sum(StepSum::kServedRowsSquared) = served * served;
  state.host_sum(StepSum::kExchangedBytes) = static_cast<double>(rows.bytes_sent);
}

// Gradients to the owners of what they belong to, and the sums of their squares. Returns those of table rows.
Tensor reduce_gradients(Replica& r, GradientSums& sums, StepReport& report) {
  sums.begin(-1);
  Tensor rows;
  if (r.memory) {
    Stopwatch watch(report.seconds_exchange);
    rows = sums.wait_rows();
    sum_of_squares(r.stream, rows, r.state.sum(StepSum::kTableSquares));
    count_rows(r.memory->stats(), r.state);
    report.seconds_exchange += r.memory->seconds_waited();
  }
  Stopwatch watch(report.seconds_reduce);
  sums.wait_dense();
  for (const ZeroGroup& group : r.zero_groups) {
    sum_of_squares(r.stream, group.own_grads(), r.state.sum(StepSum::kDenseSquares));
  }
  return rows;
}

// Unless the step is skipped: dense parameters on their owners, from where they are on their way to all ranks until
// forward reads them; table rows on their owners; router biases everywhere.
void update(Replica& r, const Tensor& row_grads) {
  for (ZeroGroup& group : r.zero_groups) group.update(r.stream, r.state.dense_control());
  if (r.memory) r.memory->update(r.stream, r.state.table_control(), row_grads);
  if (const Tensor& loads = r.state.loads(); loads.numel() > 0) {
    router_update_bias(r.stream, r.state.dense_control(), loads, r.config.model.moe.bias_update_rate,
                       r.store.state_values().reshape({loads.size(0), loads.size(1)}));
  }
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

int64_t first_sample(const Replica& r, int64_t step) {
  return (step - 1 + r.passed_batches) * r.config.train.global_batch;
}

Batch load_batch(const Replica& r, const BatchLoader& loader, int64_t step) {
  return loader.load(first_sample(r, step) + r.world.rank() * r.local_sequences(), r.local_sequences());
}

PreparedStep begin_prepare(Replica& r, const Batch& local_batch) {
  StepInput& input = r.next_input();
  PreparedStep prepared;
  prepared.input = &input;
  input.ready.synchronize();          // host memory is read no longer,
  input.used.hold(r.prepare_stream);  // nor device memory: both three steps ago
  prepared.batch = input.memory.upload(r.prepare_stream, local_batch, r.config.model.engram);
  if (r.memory) {
    Stopwatch watch(prepared.seconds_plan);
    r.memory->begin_prepare(r.prepare_stream, prepared.batch, r.config.train.micro_batch);
  }
  return prepared;
}

void finish_prepare(Replica& r, PreparedStep& prepared) {
  if (r.memory) {
    Stopwatch watch(prepared.seconds_plan);
    r.memory->finish_prepare(r.prepare_stream);
  }
  prepared.input->ready.record(r.prepare_stream);
}

PendingReport train_step(Replica& r, const PreparedStep& prepared, const RankNotes& notes) {
  Arena::Scope scope(r.arena);
  StepReport report{.step = ++r.step, .seconds_exchange = prepared.seconds_plan};

  prepared.input->ready.hold(r.stream);
  if (r.memory) {
    Stopwatch watch(report.seconds_exchange);
    r.memory->begin_fetch(r.stream);
  }

  for (const ZeroGroup& group : r.zero_groups) zero(r.stream, group.bucket().grads);
  r.state.begin(r.stream);
  r.state.host_sum(StepSum::kRequests) = weight_of(notes.request);
  r.state.host_sum(StepSum::kSaveWork) = static_cast<double>(notes.save_work);
  GradientSums sums(r, report);
  const double waited = r.seconds_weights;
  accumulate_gradients(r, prepared.batch, sums);
  report.seconds_reduce = r.seconds_weights - waited;

  const Tensor row_grads = reduce_gradients(r, sums, report);
  r.state.reduce(r.stream, r.world);
  r.state.decide(r.stream);
  StepState::PendingValues values = r.state.begin_read(r.stream);

  update(r, row_grads);
  prepared.input->used.record(r.stream);
  return {r.config, r.world.size(), values, report};
}

}  // namespace engram
