#pragma once

#include "data/batch_loader.h"
#include "kernels/core/buffer.h"
#include "model/micro_batch.h"
#include "model/model_config.h"

namespace engram {

// The local batch of a step on the device.
struct StepBatch {
  int64_t num_sequences = 0;
  int64_t seq_len = 0;
  Tensor tokens, targets;  // [num_sequences, seq_len] int32
  Tensor starts;           // [num_sequences, seq_len] uint8, 1 where a segment of n-gram hashing starts
  Tensor hash_tokens;      // [num_sequences, history + seq_len] int32: tokens with their look-back
  Tensor hash_starts;      // same shape, uint8

  // Sequences [first, first + count), without memory.
  MicroBatch micro_batch(int64_t first, int64_t count) const;
};

// Memory of one batch, on the host and on the device; kept from batch to batch.
class BatchMemory {
 public:
  // The batch on the device, once the stream has come so far; it lives until the next call, which must come after that.
  // With boundary `document` segments are the documents, with `sequence` the windows. With addressing `shuffled` the
  // hash arrays are those of the sequence half a batch away. ignore_from: targets of sequences from there on count for
  // nothing.
  StepBatch upload(Stream& stream, const Batch& batch, const EngramConfig& engram, int64_t ignore_from = INT64_MAX);

 private:
  Buffer host_, device_;
};

}  // namespace engram
