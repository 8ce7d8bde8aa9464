#pragma once

#include <string>

#include "trainer/run_config.h"

// The tokenizer that a run keeps beside its config.yaml, so that its checkpoints can be used where data.tokenizer is
// not.
namespace engram {

inline constexpr const char* kTokenizerName = "tokenizer.json";

// Copies data.tokenizer into the directory of the run. Throws Error where it is no longer the file of that digest.
void keep_tokenizer(const RunConfig& config, const std::string& digest);

// The tokenizer of a checkpoint with that configuration: data.tokenizer where that is the file that its manifest names,
// otherwise the copy of its run. Throws Error where neither is.
std::string tokenizer_of(const std::string& checkpoint, const RunConfig& config);

}  // namespace engram
