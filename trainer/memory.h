#pragma once

#include <optional>

#include "model/memory_addresses.h"
#include "model/micro_batch.h"
#include "parallel/memory_table.h"
#include "parallel/row_exchange.h"
#include "trainer/staged_rows.h"
#include "trainer/step_batch.h"
#include "trainer/table_optimizer.h"

namespace engram {

class Mesh;

// The compressed vocabulary as the model needs it.
struct VocabularyMap {
  std::span<const int32_t> compressed_ids;  // of each raw token id
  int64_t num_keys = 0;
};

// The Engram tables of a run: this rank's shard of the rows with its optimizer, and one fetch and one gradient return
// per step for the whole local batch. Collective: all ranks make the same calls.
//
//   memory.begin_prepare(any_stream, batch, sequences per micro-batch);  // addresses, best two steps ahead,
//   memory.finish_prepare(any_stream);                                   // and plan, best under the step before
//   memory.begin_fetch(stream);                                  // rows are on their way
//   ... model passes over micro_batch(0), micro_batch(1), ...    // the first reader waits for them
//   PendingRows pending = memory.return_gradients(stream);       // on their way to the owners of the rows
//   memory.update(stream, control, pending.wait(stream));
class Memory {
 public:
  // The ranks of mesh.table().shard divide the rows.
  Memory(Stream& stream, const Mesh& mesh, const RunConfig& config, const VocabularyMap& vocabulary, DType dtype);

  // Tokens of look-back that batches must carry.
  int64_t history() const { return addresses_.history(); }

  // Hashes the batch and plans the exchange of its distinct rows, on a stream of its own or not, beside the step that
  // is at work. The first half may come before the begin_fetch(stream) of the batch that was prepared last; it is not
  // collective and never blocks the host on CUDA. The second, for the begin_fetch(stream) that comes next, blocks the
  // host until the first is done, and where tables lie on the host until their rows are on their way.
  void begin_prepare(Stream& stream, const StepBatch& batch, int64_t micro_batch);
  void finish_prepare(Stream& stream);
  // Issues the fetch of the rows that were prepared. Never blocks the host on CUDA.
  void begin_fetch(Stream& stream);
  // Both for a batch that nobody prepared, as in an evaluation; what was prepared stays so.
  void begin_fetch(Stream& stream, const StepBatch& batch, int64_t micro_batch);
  // The rows of one micro-batch of that batch.
  MemoryRows micro_batch(int64_t micro_batch_idx);
  // Adds up the gradients of each row, once backward has written those of all micro-batches, and begins to send them to
  // the owners. What wait() gives is for update().
  PendingRows return_gradients(Stream& stream);
  // Updates this rank's rows that the batch has: merged [num_own_unique, width], their gradients.
  void update(Stream& stream, const Tensor& control, const Tensor& merged) const;
  // Brings table() and optimizer_state() up to date where they lie on the host; then blocks until the stream is done.
  void write_back(Stream& stream);
  // Share of the rows of all ranks that some update has reached, by the last of their optimizer's arrays if that has a
  // number for each row; nothing where it has none. Collective; blocks until the stream is done.
  std::optional<double> share_touched(Stream& stream);
  const RowLayout& layout() const { return layout_; }
  const MemoryTable& table() const { return table_; }
  const OptimizerState& optimizer_state() const { return optimizer_.state(); }
  const RowStats& stats() const { return current().plan.stats(); }
  double seconds_waited() const { return fetched_.seconds_waited(); }

 private:
  // What is known of one batch.
  struct Prepared {
    RowPlan plan;
    ReusedBuffer rows_memory, compressed_memory;
    int64_t rows_per_micro_batch = 0;
    Event used;  // by all steps before the one that is at work
  };
  Prepared& current() { return prepared_[current_]; }
  const Prepared& current() const { return prepared_[current_]; }
  Prepared& ahead(size_t num_batches) { return prepared_[(current_ + num_batches) % prepared_.size()]; }
  Tensor find_rows(Stream& stream, const StepBatch& batch, int64_t micro_batch, Prepared& prepared) const;
  void fetch(Stream& stream, PendingRows rows);

  Communicator& group_;
  RowLayout layout_;
  MemoryAddresses addresses_;
  Stream host_ = CpuQueue{};
  bool is_on_host_;
  MemoryTable table_;
  TableOptimizer optimizer_;
  std::optional<StagedRows> stage_;  // of a table on the host
  RowExchange exchange_;
  std::array<Prepared, 3> prepared_;  // of the batch at hand, the next, and the one after it, which is begun
  size_t current_ = 0;
  bool is_next_prepared_ = false;
  FetchedRows fetched_;
  ReusedBuffer own_rows_memory_, grads_memory_, sums_memory_;
  Tensor grads_;  // of each request of the batch at hand
};

}  // namespace engram
