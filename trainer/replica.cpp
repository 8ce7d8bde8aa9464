#include "trainer/replica.h"

#include "kernels/core/device.h"
#include "trainer/compute.h"
#include "trainer/step.h"

namespace engram {
namespace {

LanguageModelOptions model_options(const RunConfig& config) {
  return {.recompute = config.train.recompute, .logits_chunk = config.train.logits_chunk};
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
  return {.fetched = &*fetched,
          .row_grads = arena.take("memory.row_grad", accumulator(dtype), {1, engram.row_width()}),
          .index = std::vector<Tensor>(engram.layers.size(), index)};
}

}  // namespace

int64_t activation_bytes(const RunConfig& config, int64_t world_size, DType dtype) {
  Stream stream = DryQueue{};
  Arena arena = Arena::dry();
  ParameterStore store(dtype);
  const LanguageModel model(store, config.model, model_options(config));
  store.allocate(stream, OwnershipMap(store.numels(), static_cast<int>(world_size), ZeroPolicy::kFlat));

  std::optional<FetchedRows> fetched;
  MicroBatch micro_batch = dry_micro_batch(config);
  micro_batch.memory = dry_memory(arena, config, fetched, dtype);
  Context ctx{
      .stream = stream, .arena = arena, .num_sequences = config.train.micro_batch, .seq_len = config.data.seq_len};
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
      model(store, config.model, model_options(config)),
      ownership(store.numels(), mesh.data().size(), ZeroPolicy::kFlat),
      reducer(mesh.data(), ownership),
      dense_optimizer(stream, config.optimizer.dense, dtype, ownership.part_size()),
      state(stream, config),
      arena(device_of(stream), activation_bytes(config, world.size(), dtype)) {
  set_deterministic(stream, config.train.deterministic);
  store.allocate(stream, ownership);
  const auto seed = static_cast<uint64_t>(config.run.seed);
  store.initialize(stream, seed);
  for (const ParameterSlice& slice : ownership.slices(world.rank())) {  // a master copy starts from unrounded values
    fill_initial(stream, store.parameters()[static_cast<size_t>(slice.parameter)], seed, slice.offset,
                 own_weights().rows(ownership.part_offset(slice), slice.count));
  }
  if (config.model.engram.enabled()) memory.emplace(stream, *mesh.table().shard, config, vocabulary, dtype);
}

}  // namespace engram
