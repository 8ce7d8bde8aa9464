#pragma once

#include <string>

#include "trainer/run_config.h"

namespace engram {

// What a rank with a card takes of its host's memory, besides program and libraries.
struct HostMemoryEstimate {
  int64_t tables = 0;           // where parallel.table_placement is host
  int64_t table_optimizer = 0;  // the same
  int64_t rows = 0;             // of these tables, on their way to the card and back, at most
  int64_t saving = 0;           // the copy that is written while training goes on
  int64_t data = 0;             // what stores and tokenizer take, where their files are there

  int64_t total() const { return tables + table_optimizer + rows + saving + data; }
};

// Bytes of one rank (the one with most table rows) by category.
struct MemoryEstimate {
  int64_t parameters = 0;
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t tables = 0;
  int64_t table_optimizer = 0;
  int64_t activations = 0;
  int64_t exchange = 0;         // fetched rows and their gradients, if no two requests of the local batch were equal;
                                // of tables on the host, the rows and the state that two steps have on the card
  int64_t expert_exchange = 0;  // rows on their way to experts and back, if they are as unevenly spread as is allowed
  int64_t data = 0;             // on the CPU, what stores and tokenizer take, where their files are there
  int64_t workspace = 0;    // on CUDA, scratch memory of the libraries; on the CPU, of sums over ranks and of saving
  int64_t context = 0;      // program and libraries; on CUDA, what they and the driver take of the card
  HostMemoryEstimate host;  // on CUDA

  // Of the device.
  int64_t total() const {
    return parameters + gradients + optimizer + tables + table_optimizer + activations + exchange + expert_exchange +
           data + workspace + context;
  }
};

// Of a configuration that passed check_world() for that number of ranks, on the device that it names.
MemoryEstimate estimate_memory(const RunConfig& config, int64_t world_size);

// Bytes of a checkpoint's directory, all files of all ranks.
int64_t checkpoint_bytes(const RunConfig& config, int64_t world_size);

// What `engram estimate` prints: parameters (total, active, sparse, by part), FLOPs per token, memory of a rank,
// bytes of a checkpoint.
std::string estimate_text(const RunConfig& config, int64_t world_size);

}  // namespace engram
