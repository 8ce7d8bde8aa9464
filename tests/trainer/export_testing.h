#pragma once

#include <string>

#include "tests/trainer/checkpoint_testing.h"
#include "trainer/export.h"
#include "trainer/export_layout.h"

// What the tests of exports share: a tiny model over the tokenizer that ships.
namespace engram::test {

inline RunConfig export_run() {
  RunConfig config = tiny_run();
  config.model.vocab_size = 8200;  // a few ids that no text has
  config.model.init_std = 0.2;     // so that logits differ
  config.model.engram.table_init_std = 0.5;
  config.data.tokenizer = std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json";
  return config;
}

// Trains a few steps on num_ranks and saves; returns the checkpoint's path.
inline std::string trained_checkpoint(const RunConfig& config, const RunTokenizer& tokenizer, int num_ranks,
                                      const std::string& directory) {
  run_ranks(num_ranks, [&](Communicator& world) {
    Replica r(config, world, tokenizer.map(), DType::kFloat32);
    made_up_steps(r, 4);
    save_checkpoint(r, identity_of(tokenizer), directory);
  });
  return newest_checkpoint(directory).value();
}

inline void export_to(const std::string& checkpoint, const RunTokenizer& tokenizer, const ExportOptions& options) {
  export_checkpoint(CheckpointReader(checkpoint), checkpoint_config(checkpoint), tokenizer, options);
}

}  // namespace engram::test
