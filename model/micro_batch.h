#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "kernels/core/tensor.h"
#include "parallel/row_exchange.h"

namespace engram {

// The table rows that a step fetched; whoever reads them first waits for them.
class FetchedRows {
 public:
  FetchedRows() = default;
  explicit FetchedRows(PendingRows pending) : pending_(std::move(pending)) {}
  explicit FetchedRows(const Tensor& rows) : rows_(rows) {}

  // [num_unique, row_width].
  const Tensor& wait(Stream& stream) {
    if (pending_) {
      const auto begin = std::chrono::steady_clock::now();
      rows_ = pending_->wait(stream);
      pending_.reset();
      seconds_waited_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    return rows_;
  }
  double seconds_waited() const { return seconds_waited_; }

 private:
  std::optional<PendingRows> pending_;
  Tensor rows_;
  double seconds_waited_ = 0;
};

// The memory of one micro-batch, as its Engram modules read it.
struct MemoryRows {
  FetchedRows* fetched = nullptr;
  // Per Engram layer, of num_tokens * num_columns requests:
  std::vector<Tensor> index;  // [requests] int64: the place of each one's row in the fetched ones
  std::vector<Tensor> grads;  // [requests, row_width], activation dtype: gradients of the rows; backward writes them
};

// What a forward and backward pass read: num_sequences * seq_len tokens, one sequence after the other.
struct MicroBatch {
  Tensor tokens;   // [num_tokens] int32, checked to lie in the vocabulary
  Tensor targets;  // [num_tokens] int32, the next token of each; -1 = counts for nothing
  Tensor starts;   // [num_sequences, seq_len] uint8, 1 where a segment starts; empty = no segments
  MemoryRows memory;
};

}  // namespace engram
