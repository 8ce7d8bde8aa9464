#include "trainer/replica.h"

#include <exception>

#include "kernels/core/device.h"
#include "parallel/self_communicator.h"
#include "trainer/compute.h"
#include "trainer/step.h"
#include "trainer/stopwatch.h"

namespace engram {
namespace {

LanguageModelOptions model_options(const RunConfig& config, ParameterStore& expert_store, int64_t expert_rank) {
  LanguageModelOptions options{.recompute = config.train.recompute, .logits_chunk = config.train.logits_chunk};
  if (config.parallel.expert == 1) return options;
  options.experts = {.store = &expert_store, .num_ranks = config.parallel.expert, .rank = expert_rank};
  return options;
}

std::optional<ExpertExchange> make_expert_exchange(const RunConfig& config, Communicator& group) {
  if (config.parallel.expert == 1) return std::nullopt;
  const ExpertShard shard{
      .num_experts = config.model.moe.num_experts, .num_ranks = config.parallel.expert, .rank = group.rank()};
  return ExpertExchange(group, shard, config.parallel.expert_headroom);
}

// Of micro-batches of all inputs of a rank, and as many whose memory has moved since.
int64_t max_graph_keys(const Replica& r) {
  return 2 * std::ssize(r.inputs) * r.local_sequences() / r.config.train.micro_batch;
}

// Micro-batch of the right shape that lies nowhere.
MicroBatch dry_micro_batch(const RunConfig& config) {
  const int64_t count = config.train.micro_batch, seq_len = config.data.seq_len;
  Arena nowhere = Arena::dry();
  return {.tokens = nowhere.take("tokens", DType::kInt32, {count * seq_len}),
          .targets = nowhere.take("targets", DType::kInt32, {count * seq_len}),
          .starts = nowhere.take("starts", DType::kUInt8, {count, seq_len}),
          .memory = {}};
}

// Memory that is nowhere: its fetch gave one row.
MemoryRows dry_memory(Arena& arena, const RunConfig& config, std::optional<FetchedRows>& fetched, DType dtype) {
  const EngramConfig& engram = config.model.engram;
  if (!engram.enabled()) return {};
  fetched.emplace(arena.take("memory.row", dtype, {1, engram.row_width()}));
  const int64_t num_rows = config.train.micro_batch * config.data.seq_len * engram.num_columns();
  const Tensor index = arena.take("memory.rows", DType::kInt64, {num_rows});
  const Tensor grads = Arena::dry().take("memory.grads", dtype, {num_rows, engram.row_width()});
  return {.fetched = &*fetched,
          .index = std::vector<Tensor>(engram.layers.size(), index),
          .grads = std::vector<Tensor>(engram.layers.size(), grads)};
}

}  // namespace

int64_t bucket_elements(const RunConfig& config) {
  const double element = static_cast<double>(size_of(accumulator(model_dtype(config))));
  return static_cast<int64_t>(config.parallel.bucket_mib * 1048576 / element);
}

int64_t activation_bytes(const RunConfig& config, int64_t world_size, DType dtype) {
  Stream stream = DryQueue{};
  Arena arena = Arena::dry();
  ParameterStore store(dtype), expert_store(dtype);
  const LanguageModel model(store, config.model, model_options(config, expert_store, 0));
  for (ParameterStore* each : {&store, &expert_store}) {
    each->allocate(stream, static_cast<int>(world_size));
  }
  SelfCommunicator nobody;
  std::optional<ExpertExchange> experts = make_expert_exchange(config, nobody);

  std::optional<FetchedRows> fetched;
  MicroBatch micro_batch = dry_micro_batch(config);
  micro_batch.memory = dry_memory(arena, config, fetched, dtype);
  Context ctx{.stream = stream,
              .arena = arena,
              .num_sequences = config.train.micro_batch,
              .seq_len = config.data.seq_len,
              .experts = experts ? &*experts : nullptr};
  run_micro_batch(model, ctx, micro_batch, 1.0, arena.take("loss", DType::kFloat64, {1}));
  return arena.peak_bytes() + (int64_t{1} << 16);  // what small tensors of the step take besides
}

Replica::Replica(const RunConfig& run_config, Communicator& communicator, const VocabularyMap& vocabulary, DType dtype)
    : config(run_config),
      cards(make_cards(config, communicator)),
      world(cards ? *cards : communicator),
      mesh(world, {.expert = config.parallel.expert, .table = config.parallel.table}),
      stream(make_compute_stream(config, world)),
      prepare_stream(make_compute_stream(config, world, StreamPriority::kHigh)),
      store(dtype),
      expert_store(dtype),
      experts(make_expert_exchange(config, *mesh.expert().shard)),
      model(store, config.model, model_options(config, expert_store, mesh.expert().shard->rank())),
      state(stream, config),
      arena(device_of(stream), activation_bytes(config, world.size(), dtype)),
      graphs(max_graph_keys(*this)) {
  set_deterministic(stream, config.train.deterministic);
  add_zero_groups(store, mesh.data());
  if (experts) add_zero_groups(expert_store, *mesh.expert().replica);
  if (config.model.engram.enabled()) memory.emplace(stream, mesh, config, vocabulary, dtype);
}

Replica::~Replica() {
  if (std::uncaught_exceptions() > 0) return;
  try {
    await_weights();
  } catch (const Error&) {  // a peer has failed, and says so itself
  }
}

void Replica::await_weights(int64_t layer) {
  Stopwatch watch(seconds_weights);
  for (ZeroGroup& group : zero_groups) {
    if (group.bucket().first_layer <= layer) group.await_values();
  }
}

void Replica::publish_weights() {
  for (ZeroGroup& group : zero_groups) group.publish(stream);
  await_weights();
}

void Replica::add_zero_groups(ParameterStore& parameters, Communicator& group) {
  const auto seed = static_cast<uint64_t>(config.run.seed);
  parameters.allocate(stream, group.size(), bucket_elements(config));
  parameters.initialize(stream, seed);
  for (const ParameterBucket& bucket : parameters.buckets()) {
    zero_groups.emplace_back(stream, parameters, bucket, group, config.optimizer.dense, seed);
  }
}

}  // namespace engram
