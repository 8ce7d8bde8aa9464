#include "trainer/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/safetensors.h"
#include "tests/data/deep_json.h"
#include "tests/trainer/export_testing.h"
#include "trainer/checkpoint_diff.h"
#include "trainer/config.h"
#include "trainer/import.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;
using test::export_run;
using test::export_to;
using test::GlobalState;
using test::GlobalStateBuilder;
using test::TemporaryDirectory;

struct ExportTest : ::testing::Test {
  RunConfig config = export_run();
  RunTokenizer tokenizer = load_tokenizer(config);
  RunIdentity identity = identity_of(tokenizer);
  TemporaryDirectory directory;
  std::string checkpoint = test::trained_checkpoint(config, tokenizer, 3, directory / "checkpoints");
  std::string output = directory / "exported";

  // What replicas on num_ranks hold after load(replica), in global coordinates.
  template <class Load>
  GlobalState loaded(const RunConfig& run, int num_ranks, Load&& load) {
    GlobalStateBuilder state;
    run_ranks(num_ranks, [&](Communicator& world) {
      Replica r(run, world, tokenizer.map(), DType::kFloat32);
      load(r);
      state.add(r);
      EXPECT_EQ(r.step, 0);
      EXPECT_EQ(r.state.history(r.stream).applied_updates, 0);
    });
    return state.state();
  }
  GlobalState from_checkpoint() {
    return loaded(config, 2, [&](Replica& r) { load_checkpoint(r, identity, checkpoint, LoadScope::kWeights); });
  }
  std::string error_of_loading(const RunConfig& run, bool may_fill = false) {
    std::string message;
    run_ranks(2, [&](Communicator& world) {
      Replica r(run, world, tokenizer.map(), DType::kFloat32);
      const auto before = test::bits_of(r);
      const std::string error = test::error_of([&] { load_initial_weights(r, identity, output); });
      EXPECT_TRUE(may_fill || test::bits_of(r) == before);
      if (world.rank() == 0) message = error;
    });
    return message;
  }
};

TEST_F(ExportTest, ComesBackBitForBitOnAnyNumberOfRanks) {
  export_to(checkpoint, tokenizer, {.output = output});
  const GlobalState wanted = from_checkpoint();
  for (const int num_ranks : {1, 4}) {
    EXPECT_TRUE(loaded(config, num_ranks, [&](Replica& r) { load_initial_weights(r, identity, output); }) == wanted);
    EXPECT_TRUE(loaded(config, num_ranks, [&](Replica& r) { load_initial_weights(r, identity, checkpoint); }) ==
                wanted);
  }
  config.run.seed = 99;  // what is loaded does not depend on what was there
  GlobalState other = loaded(config, 1, [&](Replica& r) { load_initial_weights(r, identity, output); });
  EXPECT_TRUE(other == wanted);
}

TEST_F(ExportTest, ManySmallFilesHoldTheSame) {
  export_to(checkpoint, tokenizer, {.output = output, .shard_bytes = 200'000});
  const Json index = Json::parse(test::read_file(output + "/model.safetensors.index.json"));
  std::set<std::string> files;
  int64_t total = 0;
  for (const auto& [name, file] : index.at("weight_map").items()) files.insert(file.get<std::string>());
  EXPECT_GE(files.size(), 3);
  for (const std::string& file : files) {
    const SafetensorsReader reader(output + "/" + file);
    int64_t num_bytes = 0;
    for (const SafetensorsEntry& entry : reader.entries()) {
      num_bytes += entry.num_bytes();
      EXPECT_EQ(index["weight_map"].at(entry.name), file);
    }
    EXPECT_TRUE(num_bytes <= 200'000 || reader.entries().size() == 1) << file;
    total += num_bytes;
  }
  EXPECT_EQ(index["metadata"]["total_size"], total);
  EXPECT_TRUE(loaded(config, 2, [&](Replica& r) { load_export(r, identity, output); }) == from_checkpoint());
  fs::remove(output + "/" + *files.begin());
  EXPECT_NE(error_of_loading(config).find("cannot be read"), std::string::npos);
}

TEST_F(ExportTest, Bfloat16RoundsAllButRouterBiases) {
  export_to(checkpoint, tokenizer, {.output = output, .dtype = DType::kBFloat16});
  GlobalState wanted = from_checkpoint();
  for (auto& [name, bits] : wanted) {
    if (!name.ends_with("/value") && !name.ends_with("/weight")) continue;
    for (size_t at = 0; at < bits.size(); at += sizeof(float)) {
      float value;
      std::memcpy(&value, bits.data() + at, sizeof(float));
      value = static_cast<float>(bfloat16(value));
      std::memcpy(bits.data() + at, &value, sizeof(float));
    }
  }
  EXPECT_TRUE(loaded(config, 2, [&](Replica& r) { load_export(r, identity, output); }) == wanted);
}

TEST_F(ExportTest, HashConstantsAreTheModels) {
  export_to(checkpoint, tokenizer, {.output = output});
  SafetensorsReader reader(output + "/model.safetensors");
  std::map<std::string, std::vector<int64_t>> integers;
  for (const SafetensorsEntry& entry : reader.entries()) {
    if (entry.dtype != DType::kInt64) continue;
    std::vector<int64_t> values(static_cast<size_t>(entry.shape.at(0)));
    reader.read(entry, 0, std::as_writable_bytes(std::span(values)));
    integers[entry.name] = values;
  }
  for (const NgramLayer& layer : make_ngram_layout(config.model.engram, tokenizer.vocabulary.num_keys()).layers) {
    const std::string prefix = "layers." + std::to_string(layer.layer) + ".engram.";
    EXPECT_EQ(integers.at(prefix + "multipliers"), layer.multipliers);
    EXPECT_EQ(integers.at(prefix + "primes"), layer.primes);
    EXPECT_EQ(integers.at(prefix + "offsets"), layer.offsets);
  }
}

TEST_F(ExportTest, TakesADirectoryWithASlashBehindItsName) {
  export_to(checkpoint, tokenizer, {.output = output + "/"});
  EXPECT_TRUE(fs::exists(output + "/config.json"));
  EXPECT_FALSE(fs::exists(output + "/.unfinished"));
  EXPECT_NE(test::error_of([&] { export_to(checkpoint, tokenizer, {.output = output + "/"}); }).find("exists already"),
            std::string::npos);
}

TEST_F(ExportTest, IsWrittenOnceAndWithTheRunsTokenizer) {
  fs::create_directory(output);
  std::string message = test::error_of([&] { export_to(checkpoint, tokenizer, {.output = output}); });
  EXPECT_NE(message.find("exists already; wanted a new directory"), std::string::npos) << message;
  RunConfig other = config;
  other.data.tokenizer = directory / "tokenizer.json";
  test::write_file(other.data.tokenizer, test::read_file(config.data.tokenizer) + "\n");
  message = test::error_of([&] { export_to(checkpoint, load_tokenizer(other), {.output = directory / "new"}); });
  EXPECT_NE(message.find("that of the checkpoint's tokenizer"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(directory / "new"));
}

TEST_F(ExportTest, AnotherModelIsRefusedByKey) {
  export_to(checkpoint, tokenizer, {.output = output});
  RunConfig other = config;
  other.model.moe.expert_hidden = 12;
  const std::string message = error_of_loading(other);
  EXPECT_NE(message.find("is of another model: model.moe.expert_hidden: 8 -> 12"), std::string::npos) << message;
  identity.vocabulary_digest = "another";
  EXPECT_NE(error_of_loading(config).find("its vocabulary digest is"), std::string::npos);
}

// Writes the export's only file again, with other entries.
void rewrite(const std::string& path, const std::function<void(std::vector<SafetensorsEntry>&)>& change) {
  std::vector<SafetensorsEntry> entries = SafetensorsReader(path).entries();
  change(entries);
  SafetensorsWriter writer(path, entries, {});
  for (const SafetensorsEntry& entry : entries) {
    writer.append(std::vector<std::byte>(static_cast<size_t>(entry.num_bytes())));
  }
  writer.close();
}

TEST_F(ExportTest, EveryTensorThatDoesNotMatchIsNamed) {
  export_to(checkpoint, tokenizer, {.output = output});
  rewrite(output + "/model.safetensors", [](std::vector<SafetensorsEntry>& entries) {
    for (SafetensorsEntry& entry : entries) {
      if (entry.name == "final_norm.weight") entry.shape = {17};
      if (entry.name == "head.weight") entry.name = "lm_head.weight";
    }
  });
  const std::string message = error_of_loading(config);
  for (const char* words : {"final_norm.weight: is [17], wanted [16]", "head.weight: is missing, wanted [8200, 16]",
                            "lm_head.weight: is unknown to the model"}) {
    EXPECT_NE(message.find(words), std::string::npos) << message;
  }
  rewrite(output + "/model.safetensors", [](std::vector<SafetensorsEntry>& entries) {
    for (SafetensorsEntry& entry : entries) {
      if (entry.name == "lm_head.weight") entry.name = "head.weight";
      if (entry.name == "final_norm.weight") entry = {.name = entry.name, .dtype = DType::kInt32, .shape = {16}};
    }
  });
  EXPECT_NE(error_of_loading(config).find("final_norm.weight: is int32, wanted float32 or bfloat16"),
            std::string::npos);
}

TEST_F(ExportTest, AWeightThatIsNotFiniteIsNamed) {
  export_to(checkpoint, tokenizer, {.output = output});
  const std::string path = output + "/model.safetensors";
  const std::vector<SafetensorsEntry> entries = SafetensorsReader(path).entries();
  const auto head = std::find_if(entries.begin(), entries.end(),
                                 [](const SafetensorsEntry& entry) { return entry.name == "head.weight"; });
  ASSERT_TRUE(head != entries.end() && head->dtype == DType::kFloat32);
  std::string bytes = test::read_file(path);
  const int64_t data_begin = std::ssize(bytes) - entries.back().offset - entries.back().num_bytes();
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::memcpy(bytes.data() + data_begin + head->offset + 3 * sizeof bad, &bad, sizeof bad);
    test::write_file(path, bytes);
    const std::string message = error_of_loading(config, /*may_fill=*/true);
    const std::string words = fmt::format("head.weight: element 3 of the export is {}; wanted finite weights", bad);
    EXPECT_NE(message.find(words), std::string::npos) << message;
  }
}

TEST_F(ExportTest, IndexesNameFilesBesideThem) {
  export_to(checkpoint, tokenizer, {.output = output});
  for (const char* name : {"../model.safetensors", "/etc/passwd", ""}) {
    test::write_file(output + "/model.safetensors.index.json", Json{{"weight_map", {{"a", name}}}}.dump());
    EXPECT_NE(error_of_loading(config).find("wanted one beside it"), std::string::npos) << name;
  }
  for (const char* text : {"", "[]", "{}", "{\"weight_map\": {\"a\": 1}}"}) {
    test::write_file(output + "/model.safetensors.index.json", text);
    EXPECT_NE(error_of_loading(config).find("is no index of safetensors"), std::string::npos) << text;
  }
}

TEST_F(ExportTest, ConfigurationComesBack) {
  config.model.engram.gate = GateForm::kPlain;
  config.model.norm_eps = 1e-20;
  ExportConfig written{.run = config, .vocabulary_digest = "digest", .num_keys = 17, .end_of_text = 3};
  fs::create_directory(output);
  test::write_file(output + "/config.json", print_export_config(written));
  const ExportConfig read = read_export_config(output);
  EXPECT_TRUE(config_differences(read.run, config, "model.").empty());
  EXPECT_EQ(read.run.data.seq_len, config.data.seq_len);
  EXPECT_EQ(read.run.data.tokenizer, output + "/tokenizer.json");
  EXPECT_EQ(read.vocabulary_digest, "digest");
  EXPECT_EQ(read.num_keys, 17);
  EXPECT_EQ(read.end_of_text, 3);
  Json json = Json::parse(print_export_config(written));
  const auto expect_refused = [&](const std::string& text, const std::string& words) {
    test::write_file(output + "/config.json", text);
    const std::string message = test::error_of([&] { read_export_config(output); });
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  for (const auto& [value, words] : std::vector<std::pair<Json, std::string>>{
           {1.5, "config.json: eos_token_id: got 1.5"}, {1e30, "got 1e+30"}, {int64_t{1} << 40, "wanted a token id"}}) {
    Json other = json;
    other["eos_token_id"] = value;
    expect_refused(other.dump(), words);
  }
  json["model"]["hiden"] = 3;
  expect_refused(json.dump(), "model.hiden: unknown key");
  expect_refused("{\"model\":" + test::deep_json() + "}", "config.json: nested deeper than 64 levels");
}

}  // namespace
}  // namespace engram
