#pragma once

#include <optional>

#include "model/language_model.h"
#include "parallel/grad_reducer.h"
#include "parallel/mesh.h"
#include "trainer/dense_optimizer.h"
#include "trainer/memory.h"
#include "trainer/step_state.h"

namespace engram {

// What one rank holds of a training run. Dense parameters and gradients are whole on every rank, their optimizer state
// and the memory tables are divided over the ranks.
struct Replica {
  // Values from run.seed, the same for any number of ranks; world must outlive the replica. dtype: of parameters,
  // activations and tables; on the CPU float32, or float64 as the reference. Throws Error for what the configuration
  // and the number of ranks do not allow.
  Replica(const RunConfig& run_config, Communicator& communicator, const VocabularyMap& vocabulary, DType dtype);

  Replica(const Replica&) = delete;  // its parts refer to one another
  Replica& operator=(const Replica&) = delete;

  RunConfig config;
  std::unique_ptr<Communicator> cards;  // the ranks as they meet on CUDA devices; empty on the CPU
  Communicator& world;
  Mesh mesh;
  Stream stream;
  ParameterStore store;
  LanguageModel model;
  OwnershipMap ownership;
  GradReducer reducer;
  DenseOptimizer dense_optimizer;
  std::optional<Memory> memory;
  StepState state;   // sums and decisions of the step at hand, and the number of applied updates
  Arena arena;       // activations of one step
  int64_t step = 0;  // steps taken, skipped ones included: fixes the position in the data

  int64_t history() const { return memory ? memory->history() : 0; }
  int64_t local_sequences() const { return config.train.global_batch / world.size(); }
};

// Bytes of activations of one step on one rank: the step's own code, run dry.
int64_t activation_bytes(const RunConfig& config, int64_t world_size, DType dtype);

}  // namespace engram
