#include "trainer/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/safetensors.h"
#include "model/memory_addresses.h"
#include "trainer/export_layout.h"
#include "trainer/export_python.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

constexpr int64_t kElementsAtOnce = int64_t{4} << 20;

// A tensor of an export: the values of an array of the checkpoint, or constants.
struct Source {
  SafetensorsEntry entry;
  std::string array;
  int64_t columns = 1;               // of the array
  std::vector<std::byte> constants;  // where there is no array
};

template <class T>
Source constant(std::string name, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {.entry = {.name = std::move(name), .dtype = dtype_of<T>, .shape = {std::ssize(values)}},
          .array = {},
          .constants = {bytes.begin(), bytes.end()}};
}

// What hashing needs besides the tokens; ids that the tokenizer does not have, but the model, count as the pad.
void add_hash_constants(const ModelConfig& model, const CompressedVocabulary& vocabulary,
                        std::vector<Source>& sources) {
  std::vector<int32_t> ids = vocabulary.map();
  ids.resize(static_cast<size_t>(model.vocab_size), vocabulary.key_of(model.engram.pad_token));
  sources.push_back(constant("compressed_ids", ids));
  for (const NgramLayer& layer : make_ngram_layout(model.engram, vocabulary.num_keys()).layers) {
    const std::string prefix = fmt::format("layers.{}.engram.", layer.layer);
    sources.push_back(constant(prefix + "multipliers", layer.multipliers));
    sources.push_back(constant(prefix + "primes", layer.primes));
    sources.push_back(constant(prefix + "offsets", layer.offsets));
  }
}

// Everything that is exported; larger elements first, so that all are aligned.
std::vector<Source> make_sources(const ModelConfig& model, const CompressedVocabulary& vocabulary, DType dtype) {
  std::vector<Source> sources;
  for (const ExportTensor& tensor : export_tensors(model)) {
    sources.push_back(
        {.entry = {.name = tensor.name, .dtype = tensor.is_state ? DType::kFloat32 : dtype, .shape = tensor.shape},
         .array = tensor.array,
         .columns = tensor.columns,
         .constants = {}});
  }
  if (model.engram.enabled()) add_hash_constants(model, vocabulary, sources);
  std::ranges::stable_sort(sources, std::greater(), [](const Source& s) { return size_of(s.entry.dtype); });
  return sources;
}

void append_values(const CheckpointReader& checkpoint, const Source& source, SafetensorsWriter& file) {
  const int64_t num_rows = source.entry.num_bytes() / size_of(source.entry.dtype) / source.columns;
  const int64_t at_once = std::max<int64_t>(1, kElementsAtOnce / source.columns);
  std::vector<float> values;
  std::vector<bfloat16> rounded;
  for (int64_t first = 0; first < num_rows; first += at_once) {
    const int64_t count = std::min(at_once, num_rows - first);
    values.resize(static_cast<size_t>(count * source.columns));
    FileTarget target = std::span<float>(values);
    if (source.columns > 1) target.shape = {count, source.columns};
    checkpoint.read_rows(source.array, first, target);
    if (source.entry.dtype == DType::kFloat32) {
      file.append(std::as_bytes(std::span(values)));
    } else {
      rounded.resize(values.size());
      std::ranges::transform(values, rounded.begin(), [](float value) { return bfloat16(value); });
      file.append(std::as_bytes(std::span(rounded)));
    }
  }
}

// Sources of each file, in order.
std::vector<std::span<const Source>> make_shards(std::span<const Source> sources, int64_t shard_bytes) {
  std::vector<std::span<const Source>> shards;
  size_t begin = 0;
  int64_t num_bytes = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (i > begin && num_bytes + sources[i].entry.num_bytes() > shard_bytes) {
      shards.push_back(sources.subspan(begin, i - begin));
      begin = i;
      num_bytes = 0;
    }
    num_bytes += sources[i].entry.num_bytes();
  }
  shards.push_back(sources.subspan(begin));
  return shards;
}

void write_weights(const CheckpointReader& checkpoint, std::span<const Source> sources, int64_t shard_bytes,
                   const std::string& directory) {
  const auto shards = make_shards(sources, shard_bytes);
  Json places = Json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? std::string(kExportSingleName)
                                                : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    std::vector<SafetensorsEntry> entries;
    for (const Source& source : shards[i]) {
      entries.push_back(source.entry);
      places[source.entry.name] = name;
      total += source.entry.num_bytes();
    }
    SafetensorsWriter file(directory + "/" + name, entries, {{"format", "pt"}});  // asked for by transformers
    for (const Source& source : shards[i]) {
      if (source.array.empty())
        file.append(source.constants);
      else
        append_values(checkpoint, source, file);
    }
    file.close();
    sync_file(directory + "/" + name);
  }
  if (shards.size() == 1) return;
  const Json index{{"metadata", {{"total_size", total}}}, {"weight_map", places}};
  write_file_atomically(directory + "/" + kExportIndexName, index.dump(2) + "\n");
}

void write_small_files(const RunConfig& config, const RunTokenizer& tokenizer, DType dtype,
                       const std::string& directory) {
  const auto write = [&](const std::string& name, const std::string& text) {
    write_file_atomically(directory + "/" + name, text);
  };
  const int32_t end_of_text = tokenizer.tokenizer.end_of_text().value_or(-1);
  Json tokens{{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"model_max_length", config.data.seq_len},
              {"clean_up_tokenization_spaces", false}};
  Json generation{{"use_cache", false}};
  if (end_of_text >= 0) {
    tokens["eos_token"] = tokenizer.tokenizer.piece(end_of_text);
    generation["eos_token_id"] = end_of_text;
  }
  write(kExportConfigName, print_export_config({.run = config,
                                                .vocabulary_digest = tokenizer.vocabulary.digest(),
                                                .num_keys = tokenizer.vocabulary.num_keys(),
                                                .end_of_text = end_of_text,
                                                .dtype = dtype}));
  write("tokenizer_config.json", tokens.dump(2) + "\n");
  write("generation_config.json", generation.dump(2) + "\n");
  for (const auto& [name, text] : export_python_files()) write(name, text);
  write(kExportTokenizerName, contents_of_file(config.data.tokenizer));
}

}  // namespace

void export_checkpoint(const CheckpointReader& checkpoint, const RunConfig& config, const RunTokenizer& tokenizer,
                       const ExportOptions& options) {
  const std::string& digest = checkpoint.manifest().identity.tokenizer_digest;
  ENGRAM_CHECK(digest == tokenizer.tokenizer.digest(), config.data.tokenizer, ": its digest is ",
               tokenizer.tokenizer.digest(), ", that of the checkpoint's tokenizer ", digest,
               "; give the tokenizer of the run with --tokenizer");
  const std::string control = unpublished_part(config.model.engram);
  ENGRAM_CHECK(control.empty(), checkpoint.path(), ": has model.engram.", control,
               "; released models and transformers know only that");
  const std::string output = directory_path(options.output);
  ENGRAM_CHECK(!fs::exists(output), options.output, ": exists already; wanted a new directory");
  const std::string unfinished = output + ".unfinished";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  const auto sources = make_sources(config.model, tokenizer.vocabulary, options.dtype);
  write_weights(checkpoint, sources, options.shard_bytes, unfinished);
  write_small_files(config, tokenizer, options.dtype, unfinished);
  sync_directory(unfinished);
  fs::rename(unfinished, output);
}

}  // namespace engram
