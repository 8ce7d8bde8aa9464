#pragma once

#include <numeric>
#include <vector>

#include "parallel/thread_communicator.h"
#include "tests/testing.h"
#include "trainer/replica.h"
#include "trainer/step.h"

// A run small enough for a test, on text that is made up: what the trainer's tests share.
namespace engram::test {

inline RunConfig tiny_run() {
  RunConfig c;
  c.run.seed = 3;
  c.model.vocab_size = 61;
  c.model.hidden = 16;
  c.model.num_layers = 2;
  c.model.num_dense_layers = 1;
  c.model.ffn_hidden = 24;
  c.model.attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 8};
  c.model.moe = {.num_experts = 4, .top_k = 2, .num_shared_experts = 1, .expert_hidden = 8};
  c.model.engram.layers = {0, 1};
  c.model.engram.heads = 2;
  c.model.engram.memory_dim = 12;
  c.model.engram.rows_per_head = {300};
  c.data.seq_len = 12;
  c.train.steps = 50;
  c.train.global_batch = 4;
  c.train.micro_batch = 1;
  c.parallel.bucket_mib = 0;  // a bucket for each layer
  c.checkpoint.retry_seconds = 0;
  c.optimizer.dense.lr = 3e-3;
  c.optimizer.schedule.warmup_steps = 5;
  return c;
}

// Every token its own key.
inline std::vector<int32_t> identity_ids(const RunConfig& config) {
  std::vector<int32_t> ids(static_cast<size_t>(config.model.vocab_size));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// Samples [first, first + count): a pure function of the sample number. Tokens follow one another by a noisy rule, so
// that there is something to learn.
inline Batch made_up_batch(const RunConfig& config, int64_t first, int64_t count, int64_t history) {
  Batch batch;
  batch.first_sample = first;
  batch.num_samples = count;
  batch.history = history;
  batch.seq_len = config.data.seq_len;
  const auto vocab = static_cast<uint64_t>(config.model.vocab_size);
  for (int64_t sample = first; sample < first + count; ++sample) {
    uint64_t token = philox(5, static_cast<uint64_t>(sample), 0).word[0] % vocab;
    for (int64_t i = 0; i < batch.row_length(); ++i) {
      const uint32_t noise = philox(6, static_cast<uint64_t>(sample), static_cast<uint64_t>(i)).word[0];
      token = (3 * token + 1 + (noise % 4 == 0 ? noise % 5 : 0)) % vocab;
      batch.tokens.push_back(static_cast<int32_t>(token));
      batch.starts.push_back(noise % 11 == 0 ? 1 : 0);
    }
  }
  return batch;
}

// This rank's part of a step's global batch.
inline Batch made_up_batch_of(const Replica& r, int64_t step) {
  const int64_t first = (step - 1) * r.config.train.global_batch + r.world.rank() * r.local_sequences();
  return made_up_batch(r.config, first, r.local_sequences(), r.history());
}

inline PreparedStep prepared_step(Replica& r) {
  PreparedStep prepared = begin_prepare(r, made_up_batch_of(r, r.step + 1));
  finish_prepare(r, prepared);
  return prepared;
}

inline StepReport made_up_step(Replica& r) { return train_step(r, prepared_step(r)).wait(); }

// Steps as training takes them: the next one is begun before each, and reported is each after the next was issued.
// after(step) comes once a step is issued.
template <class After>
std::vector<double> pipelined_losses(Replica& r, int64_t num_steps, After&& after) {
  std::vector<double> losses;
  std::optional<PendingReport> running;
  PreparedStep next = begin_prepare(r, made_up_batch_of(r, 1));
  for (int64_t step = 1; step <= num_steps; ++step) {
    PreparedStep prepared = next;
    finish_prepare(r, prepared);
    next = begin_prepare(r, made_up_batch_of(r, step + 1));  // of the last step: never finished
    PendingReport issued = train_step(r, prepared);
    if (running) losses.push_back(running->wait().loss);
    running = issued;
    after(step);
  }
  losses.push_back(running->wait().loss);
  return losses;
}

// A replica on one rank of `world`, with the identity vocabulary.
struct TinyReplica {
  TinyReplica(const RunConfig& config, Communicator& world, DType dtype)
      : ids(identity_ids(config)),
        replica(config, world, {.compressed_ids = ids, .num_keys = config.model.vocab_size}, dtype) {}

  std::vector<int32_t> ids;
  Replica replica;
};

// Every bit that training changes on this rank, one array after the other.
inline std::vector<Tensor> state_of(Replica& r) {
  r.await_weights();
  std::vector<Tensor> all;
  for (const ZeroGroup& group : r.zero_groups) {
    all.push_back(group.bucket().values);
    all.push_back(group.own_weights());
    for (const OptimizerArray& array : group.optimizer_state()) all.push_back(array.value);
  }
  for (const StateArray& state : r.store.states()) all.push_back(state.value);
  if (r.memory) {
    r.memory->write_back(r.stream);
    all.push_back(r.memory->table().weight());
    for (const OptimizerArray& array : r.memory->optimizer_state()) all.push_back(array.value);
  }
  return all;
}

// Puts a tensor's bits after those that are there, once the stream has come so far.
inline void append_bits(Stream& stream, const Tensor& tensor, std::vector<std::byte>& bits) {
  const size_t begin = bits.size();
  bits.resize(begin + static_cast<size_t>(tensor.num_bytes()));
  copy(stream, tensor, Tensor(bits.data() + begin, DType::kUInt8, {tensor.num_bytes()}));
  synchronize(stream);
}

inline std::vector<std::byte> bits_of(Replica& r) {
  std::vector<std::byte> bits;
  for (const Tensor& tensor : state_of(r)) append_bits(r.stream, tensor, bits);
  return bits;
}

}  // namespace engram::test
