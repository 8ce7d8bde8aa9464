#pragma once

#include <vector>

#include "kernels/core/tensor.h"
#include "parallel/row_exchange.h"

namespace engram {

// The table rows that a step fetched, as the Engram modules of one micro-batch read them.
struct MemoryRows {
  PendingRows* fetch = nullptr;  // the step's fetch while nobody has waited for it
  Tensor rows;                   // [num_unique, row_width], there once the fetch was waited for
  Tensor row_grads;              // [num_unique, row_width], accumulator dtype; backward adds to it
  std::vector<Tensor> index;     // per Engram layer [num_tokens * num_columns] int64: the place of each row in `rows`

  // Waits for the fetch unless that has been done.
  void ready(Stream& stream) {
    if (PendingRows* pending = std::exchange(fetch, nullptr)) rows = pending->wait(stream);
  }
};

// What a forward and backward pass read: num_sequences * seq_len tokens, one sequence after the other.
struct MicroBatch {
  Tensor tokens;   // [num_tokens] int32, checked to lie in the vocabulary
  Tensor targets;  // [num_tokens] int32, the next token of each; -1 = counts for nothing
  Tensor starts;   // [num_sequences, seq_len] uint8, 1 where a segment starts; empty = no segments
  MemoryRows memory;
};

}  // namespace engram
