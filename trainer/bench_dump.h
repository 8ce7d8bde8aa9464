#pragma once

#include "trainer/cli.h"

namespace engram {

// `engram bench dump`: what another program needs to train the same model on the same samples, as flat files of a
// folder. Weights are those of a run's start, in float32.
//
//   manifest.json       samples, row_length, history, seq_len, num_keys; multipliers of each Engram layer; of each of
//                       the weights name, shape and offset in bytes, tables as blocks.L.engram.table.weight
//   weights.bin         float32
//   tokens.bin          int32 [samples, row_length], as Batch has them, in the order of training
//   starts.bin          uint8, the same shape
//   compressed_ids.bin  int32 [vocab_size]
// Throws IoError where a file cannot be written.
void run_bench_dump(const BenchDumpCommand& command);

}  // namespace engram
