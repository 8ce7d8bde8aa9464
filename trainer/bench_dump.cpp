#include "trainer/bench_dump.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "model/language_model.h"
#include "model/memory_addresses.h"
#include "parallel/memory_table.h"
#include "trainer/bench_batches.h"
#include "trainer/config.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSamplesAtOnce = 64;

class FlatFile {
 public:
  explicit FlatFile(const std::string& path) : path_(path), file_(path, std::ios::binary | std::ios::trunc) {}
  void write(const void* data, int64_t num_bytes) {
    file_.write(static_cast<const char*>(data), num_bytes);
    file_.flush();  // so that nothing is left for the destructor, which could not tell
    ENGRAM_CHECK_AS(IoError, file_.good(), path_, ": cannot be written; is the disk full?");
    num_bytes_ += num_bytes;
  }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  std::string path_;
  std::ofstream file_;
  int64_t num_bytes_ = 0;
};

Json write_weights(const RunConfig& config, const std::string& path) {
  Stream stream = CpuQueue{};
  ParameterStore store(DType::kFloat32);
  const LanguageModel model(store, config.model, {});
  store.allocate(stream, 1);
  store.initialize(stream, static_cast<uint64_t>(config.run.seed));
  FlatFile file(path);
  Json list = Json::array();
  for (const Parameter& parameter : store.parameters()) {
    list.push_back({{"name", parameter.name}, {"shape", parameter.shape}, {"offset", file.num_bytes()}});
    file.write(parameter.value.data, parameter.value.num_bytes());
  }
  const EngramConfig& engram = config.model.engram;
  if (!engram.enabled()) return list;
  const RowLayout layout(rows_per_table(make_ngram_layout(engram, 1)), 1);
  const MemoryTable table(stream, layout, 0,
                          {.width = engram.row_width(),
                           .dtype = DType::kFloat32,
                           .seed = static_cast<uint64_t>(config.run.seed),
                           .deviation = engram.table_init_std});
  for (int64_t i = 0; i < layout.num_tables(); ++i) {
    const Tensor rows = table.weight().rows(layout.slot(layout.global_row(i, 0)), layout.num_rows(i));
    list.push_back({{"name", fmt::format("blocks.{}.engram.table.weight", engram.layers[static_cast<size_t>(i)])},
                    {"shape", {rows.size(0), rows.size(1)}},
                    {"offset", file.num_bytes()}});
    file.write(rows.data, rows.num_bytes());
  }
  return list;
}

void write_samples(const BenchBatches& source, const std::string& folder, int64_t num_samples) {
  FlatFile tokens(folder + "/tokens.bin"), starts(folder + "/starts.bin");
  for (int64_t first = 0; first < num_samples; first += kSamplesAtOnce) {
    const Batch batch = source.load(first, std::min(kSamplesAtOnce, num_samples - first));
    tokens.write(batch.tokens.data(), static_cast<int64_t>(batch.tokens.size() * sizeof(int32_t)));
    starts.write(batch.starts.data(), static_cast<int64_t>(batch.starts.size()));
  }
}

}  // namespace

void run_bench_dump(const BenchDumpCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  const BenchBatches source(config);
  const VocabularyMap vocabulary = source.vocabulary();
  const int64_t num_samples = command.samples.value_or(config.train.steps * config.train.global_batch);
  std::filesystem::create_directories(command.output);

  const Batch one = source.load(0, 1);
  Json manifest{{"samples", num_samples}, {"row_length", one.row_length()},  {"history", one.history},
                {"seq_len", one.seq_len}, {"num_keys", vocabulary.num_keys}, {"multipliers", Json::array()}};
  if (config.model.engram.enabled()) {
    for (const NgramLayer& layer : make_ngram_layout(config.model.engram, vocabulary.num_keys).layers) {
      manifest["multipliers"].push_back(layer.multipliers);
    }
  }
  manifest["weights"] = write_weights(config, command.output + "/weights.bin");
  write_samples(source, command.output, num_samples);
  FlatFile ids(command.output + "/compressed_ids.bin");
  ids.write(vocabulary.compressed_ids.data(), static_cast<int64_t>(vocabulary.compressed_ids.size_bytes()));
  const std::string text = manifest.dump(1);
  FlatFile(command.output + "/manifest.json").write(text.data(), static_cast<int64_t>(text.size()));
  std::cout << fmt::format("{}: {} samples of {} tokens, {} parameters\n", command.output, num_samples, one.seq_len,
                           manifest["weights"].size());
}

}  // namespace engram
