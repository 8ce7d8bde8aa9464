#pragma once

#include <span>

#include "model/memory_addresses.h"
#include "model/micro_batch.h"
#include "parallel/memory_table.h"
#include "parallel/reused_buffer.h"
#include "parallel/row_exchange.h"
#include "trainer/step_batch.h"
#include "trainer/table_optimizer.h"

namespace engram {

// The compressed vocabulary as the model needs it.
struct VocabularyMap {
  std::span<const int32_t> compressed_ids;  // of each raw token id
  int64_t num_keys = 0;
};

// The Engram tables of a run: this rank's shard of the rows with its optimizer, and one fetch and one gradient return
// per step for the whole local batch. Collective: all ranks make the same calls.
//
//   memory.begin_fetch(stream, arena, batch, sequences per micro-batch);   // rows are on their way
//   ... model passes over micro_batch(0), micro_batch(1), ...              // the first reader waits for them
//   memory.return_gradients(stream);                                       // sums of each owned row
//   memory.update(stream, control);
class Memory {
 public:
  Memory(Stream& stream, Communicator& group, const RunConfig& config, const VocabularyMap& vocabulary, DType dtype);

  // Tokens of look-back that batches must carry.
  int64_t history() const { return addresses_.history(); }

  // Hashes the batch and issues the fetch of its distinct rows.
  void begin_fetch(Stream& stream, Arena& arena, const StepBatch& batch, int64_t micro_batch);
  // The rows of one micro-batch of that batch.
  MemoryRows micro_batch(int64_t micro_batch_idx);
  // Sends the row gradients to the owners and merges theirs. Returns [num_own_unique, width].
  const Tensor& return_gradients(Stream& stream);
  // Updates the rows that the last return_gradients() gave gradients for.
  void update(Stream& stream, const Tensor& control) const;
  const RowLayout& layout() const { return layout_; }
  const MemoryTable& table() const { return table_; }
  const OptimizerState& optimizer_state() const { return optimizer_.state(); }
  const RowStats& stats() const { return plan_.stats(); }
  double seconds_waited() const { return fetched_.seconds_waited(); }

 private:
  RowLayout layout_;
  MemoryAddresses addresses_;
  MemoryTable table_;
  TableOptimizer optimizer_;
  RowExchange exchange_;
  RowPlan plan_;
  FetchedRows fetched_;
  ReusedBuffer row_grads_memory_;
  Tensor row_grads_, merged_grads_;
  int64_t rows_per_micro_batch_ = 0;
};

}  // namespace engram
