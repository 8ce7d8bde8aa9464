#include "trainer/replica.h"

#include "kernels/core/device.h"
#include "parallel/nccl_communicator.h"
#include "parallel/self_communicator.h"
#include "trainer/exit_codes.h"
#include "trainer/step.h"

namespace engram {
namespace {

std::unique_ptr<Communicator> make_cards(const RunConfig& config, Communicator& world) {
  if (config.device == DeviceChoice::kCpu) return nullptr;
  if (world.size() == 1) return std::make_unique<SelfCommunicator>();
  return make_nccl_communicator(world, {.card = world.local_rank(),
                                        .timeout_seconds = static_cast<double>(config.parallel.timeout_seconds),
                                        .exit_code = kExitRequeue});
}

Stream stream_for(DeviceChoice device, int card) {
  return make_stream(device == DeviceChoice::kCuda ? Device::kCuda : Device::kCpu, card);
}

LanguageModelOptions model_options(const RunConfig& config) {
  return {.recompute = config.train.recompute, .logits_chunk = config.train.logits_chunk};
}

// A batch of the right shape with token 0 everywhere.
Batch blank_batch(const RunConfig& config, int64_t num_sequences) {
  Batch batch;
  batch.num_samples = num_sequences;
  batch.history = config.model.engram.enabled() ? config.model.engram.max_order() - 1 : 0;
  batch.seq_len = config.data.seq_len;
  batch.tokens.assign(static_cast<size_t>(num_sequences * batch.row_length()), 0);
  batch.starts.assign(batch.tokens.size(), 0);
  return batch;
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

  const int64_t num_sequences = config.train.global_batch / world_size;
  const StepBatch batch = upload(stream, arena, blank_batch(config, num_sequences), config.model.engram.boundary);
  std::optional<FetchedRows> fetched;
  MicroBatch micro_batch = batch.micro_batch(0, config.train.micro_batch);
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
      stream(stream_for(config.device, world.local_rank())),
      store(dtype),
      model(store, config.model, model_options(config)),
      ownership(store.numels(), mesh.data().size(), ZeroPolicy::kFlat),
      reducer(mesh.data(), ownership),
      dense_optimizer(stream, config.optimizer.dense, accumulator(dtype), ownership.part_size()),
      state(stream, config),
      arena(device_of(stream), activation_bytes(config, world.size(), dtype)) {
  store.allocate(stream, ownership);
  store.initialize(stream, static_cast<uint64_t>(config.run.seed));
  if (config.model.engram.enabled()) memory.emplace(stream, *mesh.table().shard, config, vocabulary, dtype);
}

}  // namespace engram
