#pragma once

#include <limits>
#include <optional>

#include "kernels/core/work_graphs.h"
#include "model/language_model.h"
#include "parallel/mesh.h"
#include "trainer/memory.h"
#include "trainer/step_state.h"
#include "trainer/zero_group.h"

namespace engram {

// Where the batch of one step lies. There are three: of the step at work, of the one that is issued behind it, and of
// the one after that, which is being filled.
struct StepInput {
  BatchMemory memory;
  Event ready;  // on the stream that prepares
  Event used;   // on the stream that computes
};

// What one rank holds of a training run. Dense parameters and gradients are whole on every rank, but for experts that
// ranks share; their optimizer state and the memory tables are divided over the ranks.
struct Replica {
  // Values from run.seed, the same for any number of ranks and any device; world must outlive the replica. dtype: of
  // parameters and activations, model_dtype() or, on the CPU as the reference, float64. Collective; throws Error for
  // what the configuration, the number of ranks and the hosts do not allow.
  Replica(const RunConfig& run_config, Communicator& communicator, const VocabularyMap& vocabulary, DType dtype);

  ~Replica();

  Replica(const Replica&) = delete;  // its parts refer to one another
  Replica& operator=(const Replica&) = delete;

  RunConfig config;
  std::unique_ptr<Communicator> cards;  // the ranks as they meet on CUDA devices; empty on the CPU
  Communicator& world;
  Mesh mesh;
  Stream stream;
  Stream prepare_stream;  // for the batch of the next step
  ParameterStore store;
  ParameterStore expert_store;  // this rank's experts where ranks share them, else nothing
  std::optional<ExpertExchange> experts;
  LanguageModel model;
  std::deque<ZeroGroup> zero_groups;  // of the stores' buckets
  std::optional<Memory> memory;
  StepState state;  // sums and decisions of the step at hand, and what those of the next depend on
  Arena arena;      // activations of one step
  std::array<StepInput, 3> inputs;
  WorkGraphs graphs;  // of the micro-batches of all inputs
  int64_t num_inputs = 0;
  int64_t step = 0;            // steps issued, skipped ones included
  int64_t passed_batches = 0;  // of the data, on top: step + passed_batches is the position there
  double seconds_weights = 0;  // of the host, in await_weights()

  // Waits for the weights that forward reads up to a layer, see Context::before_layer; by default of all.
  void await_weights(int64_t layer = std::numeric_limits<int64_t>::max());
  // Brings the weights to all ranks, after somebody else than the optimizer wrote them where they are owned, and waits
  // for them: an exception that follows may free them.
  void publish_weights();
  // For one micro-batch: without statistics.
  Context context(int64_t num_sequences, int64_t seq_len) {
    return {.stream = stream,
            .arena = arena,
            .num_sequences = num_sequences,
            .seq_len = seq_len,
            .experts = experts ? &*experts : nullptr,
            .before_layer = [this](int64_t layer) { await_weights(layer); }};
  }
  int64_t history() const { return memory ? memory->history() : 0; }
  int64_t local_sequences() const { return config.train.global_batch / world.size(); }
  void add_zero_groups(ParameterStore& parameters, Communicator& group);
  StepInput& next_input() { return inputs[static_cast<size_t>(num_inputs++ % std::ssize(inputs))]; }
};

// Least elements of a bucket of parameters, see ParameterStore::allocate().
int64_t bucket_elements(const RunConfig& config);

// Bytes of activations of one step on one rank: the step's own code, run dry. Without what ExpertExchange takes.
int64_t activation_bytes(const RunConfig& config, int64_t world_size, DType dtype);

}  // namespace engram
