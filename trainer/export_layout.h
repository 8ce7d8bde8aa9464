#pragma once

#include <string>
#include <vector>

#include "trainer/run_config.h"

// What an export looks like: the directory that `checkpoint export` writes, `checkpoint import` and run.init_from read,
// and transformers loads with scripts/export/*.py.
namespace engram {

inline constexpr const char* kExportConfigName = "config.json";
inline constexpr const char* kExportTokenizerName = "tokenizer.json";
inline constexpr const char* kExportIndexName = "model.safetensors.index.json";
inline constexpr const char* kExportSingleName = "model.safetensors";

// A trained tensor of a model under the name that it has in an export. Engram's follow those of released models
// (arXiv:2609.19969): layers.N.engram.{embed.weight, wkv.weight, q_weight, k_weight}.
struct ExportTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string array;      // of a checkpoint: "dense/blocks.0.attention.qkv.weight/value"
  int64_t columns = 1;    // elements of a row of that array
  bool is_state = false;  // a router's bias: never rounded

  int64_t numel() const;
};

// Every trained tensor of a model: dense parameters, router biases, tables.
std::vector<ExportTensor> export_tensors(const ModelConfig& config);

// Names of a dense parameter or router bias, and of the table of an Engram layer, counted among config.engram.layers.
std::string export_name(const std::string& name);
std::string export_table_name(const ModelConfig& config, int64_t table);
// True for what hashing needs besides the tokens; a reader computes it again.
bool is_hash_constant(const std::string& name);

// What config.json says.
struct ExportConfig {
  RunConfig run;                  // the model, data.seq_len and data.tokenizer
  std::string vocabulary_digest;  // of the compressed vocabulary
  int64_t num_keys = 0;           // of the compressed vocabulary
  int32_t end_of_text = -1;       // token id, -1 for none
  DType dtype = DType::kFloat32;  // of the weights
};

// The section `model` under that key, and what transformers and table tools look for.
std::string print_export_config(const ExportConfig& config);
// Throws Error or ConfigError that names file and key.
ExportConfig read_export_config(const std::string& directory);

}  // namespace engram
