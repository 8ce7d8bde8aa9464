#include "trainer/export_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/json_depth.h"
#include "data/json_integer.h"
#include "model/language_model.h"
#include "model/memory_addresses.h"
#include "trainer/config.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kModelKey = "model";
constexpr const char* kLengthKey = "max_position_embeddings";
constexpr const char* kVocabularyKey = "engram_vocabulary_digest";
constexpr const char* kEndKey = "eos_token_id";
constexpr const char* kNumKeysKey = "engram_compressed_vocab_size";

std::string with_prefix(const std::string& name, std::string_view prefix, std::string_view other) {
  return name.starts_with(prefix) ? fmt::format("{}{}", other, name.substr(prefix.size())) : name;
}

std::string with_ending(const std::string& name, std::string_view ending, std::string_view other) {
  return name.ends_with(ending) ? fmt::format("{}{}", name.substr(0, name.size() - ending.size()), other) : name;
}

Json model_json(const RunConfig& config) {
  Json json;
  for (const ConfigEntry& entry : config_entries(config)) {
    if (!entry.path.starts_with("model.")) continue;
    std::string pointer = entry.path.substr(std::string_view("model").size());
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    json[Json::json_pointer(pointer)] = Json::accept(entry.value) ? Json::parse(entry.value) : Json(entry.value);
  }
  return json;
}

}  // namespace

std::string export_name(const std::string& name) {
  std::string result = with_prefix(name, "blocks.", "layers.");
  result = with_ending(result, ".engram.kv.weight", ".engram.wkv.weight");
  result = with_ending(result, ".engram.query_norm.weight", ".engram.q_weight");
  return with_ending(result, ".engram.key_norm.weight", ".engram.k_weight");
}

std::string export_table_name(const ModelConfig& config, int64_t table) {
  return fmt::format("layers.{}.engram.embed.weight", config.engram.layers.at(static_cast<size_t>(table)));
}

bool is_hash_constant(const std::string& name) {
  return name == "compressed_ids" || name.ends_with(".engram.multipliers") || name.ends_with(".engram.primes") ||
         name.ends_with(".engram.offsets");
}

int64_t ExportTensor::numel() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

std::vector<ExportTensor> export_tensors(const ModelConfig& config) {
  ParameterStore store(DType::kFloat32);
  const LanguageModel model(store, config, {});
  std::vector<ExportTensor> tensors;
  for (const Parameter& parameter : store.parameters()) {
    tensors.push_back(
        {.name = export_name(parameter.name), .shape = parameter.shape, .array = "dense/" + parameter.name + "/value"});
  }
  for (const StateArray& state : store.states()) {
    tensors.push_back({.name = export_name(state.name),
                       .shape = {state.value.numel()},
                       .array = "state/" + state.name,
                       .is_state = true});
  }
  if (!config.engram.enabled()) return tensors;
  const std::vector<int64_t> num_rows = rows_per_table(make_ngram_layout(config.engram, 1));
  for (int64_t table = 0; table < std::ssize(num_rows); ++table) {
    tensors.push_back({.name = export_table_name(config, table),
                       .shape = {num_rows[static_cast<size_t>(table)], config.engram.row_width()},
                       .array = fmt::format("table/{}/weight", table),
                       .columns = config.engram.row_width()});
  }
  return tensors;
}

std::string print_export_config(const ExportConfig& config) {
  const ModelConfig& m = config.run.model;
  Json json{{"architectures", {"EngramForCausalLM"}},
            {"model_type", "engram"},
            {"auto_map",
             {{"AutoConfig", "configuration_engram.EngramConfig"},
              {"AutoModelForCausalLM", "modeling_engram.EngramForCausalLM"}}},
            {"torch_dtype", name_of(config.dtype)},
            {"vocab_size", m.vocab_size},
            {"hidden_size", m.hidden},
            {"num_hidden_layers", m.num_layers},
            {"num_attention_heads", m.attention.num_heads},
            {"num_key_value_heads", m.attention.num_kv_heads},
            {"head_dim", m.attention.head_dim},
            {kLengthKey, config.run.data.seq_len},
            {"tie_word_embeddings", false},  // the model shares the weight by itself
            {"use_cache", false},
            {kEndKey, config.end_of_text < 0 ? Json() : Json(config.end_of_text)},
            {kVocabularyKey, config.vocabulary_digest},
            {kNumKeysKey, config.num_keys}};
  if (m.engram.enabled()) {
    json["engram_layer_ids"] = m.engram.layers;
    json["engram_num_embeddings"] = rows_per_table(make_ngram_layout(m.engram, config.num_keys));
    json["engram_max_ngram_size"] = m.engram.max_order();
    json["engram_n_heads"] = m.engram.heads;
    json["engram_head_dim"] = m.engram.row_width();
    json["engram_pad_token_id"] = m.engram.pad_token;
  }
  json[kModelKey] = model_json(config.run);
  return json.dump(2) + "\n";
}

ExportConfig read_export_config(const std::string& directory) {
  const std::string path = directory + "/" + kExportConfigName;
  std::ifstream file(path, std::ios::binary);
  ENGRAM_CHECK(file.good(), path, ": cannot be read; ", directory, " is not an export");
  try {
    const Json json = Json::parse(file, JsonDepth{path + ": "});
    // JSON is YAML: the strict reader of configurations checks the section.
    const Json text{{"model", json.at(kModelKey)},
                    {"data", {{"seq_len", json.at(kLengthKey)}, {"tokenizer", directory + "/" + kExportTokenizerName}}},
                    {"train", {{"steps", 0}, {"global_batch", 1}}}};
    const Json& end_of_text = json.at(kEndKey);
    const int64_t end = end_of_text.is_null() ? -1 : json_integer(end_of_text, path + ": " + kEndKey);
    ENGRAM_CHECK(end >= -1 && end <= INT32_MAX, path, ": ", kEndKey, ": got ", end, ", wanted a token id or null");
    return {.run = parse_config(text.dump(), path),
            .vocabulary_digest = json.at(kVocabularyKey),
            .num_keys = json_integer(json.at(kNumKeysKey), path + ": " + kNumKeysKey),
            .end_of_text = static_cast<int32_t>(end)};
  } catch (const Json::exception& error) {
    ENGRAM_FAIL(path, ": is not the configuration of an export: ", error.what());
  }
}

}  // namespace engram
