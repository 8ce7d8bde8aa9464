#pragma once

#include "kernels/core/dtype.h"
#include "trainer/checkpoint_reader.h"
#include "trainer/run_data.h"

namespace engram {

struct ExportOptions {
  std::string output;                      // a directory that is not there yet
  DType dtype = DType::kFloat32;           // of the weights: float32 or bfloat16
  int64_t shard_bytes = int64_t{4} << 30;  // largest file, unless one tensor is larger
};

// Writes the weights of a checkpoint as safetensors with what transformers needs to run them (see export_layout.h):
// constants of hashing beside the weights, config.json, tokenizer and model code. The directory appears whole or not at
// all. Holds a few MiB of weights at a time. Throws Error where the tokenizer is not the checkpoint's.
void export_checkpoint(const CheckpointReader& checkpoint, const RunConfig& config, const RunTokenizer& tokenizer,
                       const ExportOptions& options);

}  // namespace engram
