#include <fmt/format.h>

#include <array>
#include <cstdio>

#include "data/safetensors.h"
#include "kernels/core/device.h"
#include "tests/trainer/export_testing.h"
#include "trainer/forward.h"

// Exports as transformers runs them. Needs a Python with torch, transformers and safetensors: ENGRAM_TORCH_PYTHON, or
// python3.
namespace engram {
namespace {

using test::TemporaryDirectory;

// Exit code and output of a shell command.
std::pair<int, std::string> run_command(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> part;
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) output += part.data();
  return {pclose(pipe), output};
}

std::string python() {
  const char* named = std::getenv("ENGRAM_TORCH_PYTHON");
  return named == nullptr ? "python3" : named;
}

// Logits [num_tokens, vocab_size].
std::vector<float> logits_of(Replica& r, const std::vector<int32_t>& tokens, int32_t end_of_text) {
  Batch batch;
  batch.history = r.history();
  batch.seq_len = std::ssize(tokens);
  append_sequence(tokens, -batch.history, end_of_text, batch);
  Arena::Scope scope(r.arena);
  BatchMemory memory;
  LanguageModel::Saved saved;
  const Tensor hidden = forward_batch(r, memory.upload(r.stream, batch, r.config.model.engram), saved);
  Context ctx = r.context(1, batch.seq_len);
  const Tensor logits = r.model.logits(ctx, hidden);
  const auto values = host_span<const float>(logits);
  return {values.begin(), values.end()};
}

// Exports a checkpoint to DIR, and writes some tokens and their logits to DIR.reference.
void export_with_reference(const std::string& checkpoint, const RunTokenizer& tokenizer, const std::string& directory) {
  test::export_to(checkpoint, tokenizer, {.output = directory, .shard_bytes = 400'000});
  RunConfig config = checkpoint_config(checkpoint);
  config.train.global_batch = config.train.micro_batch = 1;
  const int32_t end_of_text = tokenizer.tokenizer.end_of_text().value();
  const std::string text = test::read_file(std::string(ENGRAM_SOURCE_DIR) + "/data/sample/validation.txt");
  std::vector<int32_t> tokens = tokenizer.tokenizer.encode(text.substr(0, 4000));
  tokens.insert(tokens.begin() + 5, {end_of_text, tokens[0], tokens[1]});
  ASSERT_GE(std::ssize(tokens), config.data.seq_len);
  tokens.resize(static_cast<size_t>(config.data.seq_len));
  run_ranks(1, [&](Communicator& world) {
    Replica r(config, world, tokenizer.map(), DType::kFloat32);
    load_checkpoint(r, identity_of(tokenizer), checkpoint, LoadScope::kWeights);
    const std::vector<float> logits = logits_of(r, tokens, end_of_text);
    SafetensorsWriter writer(directory + ".reference",
                             {{.name = "logits", .shape = {std::ssize(tokens), config.model.vocab_size}},
                              {.name = "tokens", .dtype = DType::kInt32, .shape = {std::ssize(tokens)}}},
                             {});
    writer.append(std::as_bytes(std::span(logits)));
    writer.append(std::as_bytes(std::span(tokens)));
    writer.close();
  });
}

bool has_torch() { return run_command(python() + " -c 'import torch, transformers, safetensors'").first == 0; }

void expect_same_logits(const TemporaryDirectory& directory, const std::vector<std::string>& names) {
  std::string command = fmt::format("HF_HUB_OFFLINE=1 HF_MODULES_CACHE={} {} {}/tests/trainer/compare_logits.py",
                                    directory / "modules", python(), ENGRAM_SOURCE_DIR);
  for (const std::string& name : names) command += fmt::format(" {}", directory / name);
  const auto [code, output] = run_command(command);
  EXPECT_EQ(code, 0) << output;
  std::cout << output;
}

TEST(ExportTorchSlow, TransformersComputesTheSameLogits) {
  if (!has_torch()) {
    GTEST_SKIP() << python() << " has no torch, transformers and safetensors; name another by ENGRAM_TORCH_PYTHON";
  }
  RunConfig base = test::export_run();
  base.data.seq_len = 17;
  std::vector<std::pair<std::string, RunConfig>> models;
  const auto add_model = [&](const std::string& name) -> ModelConfig& {
    return models.emplace_back(name, base).second.model;
  };
  add_model("experts_and_memory");
  ModelConfig& conv = add_model("conv");
  conv.engram.conv = true;
  conv.attention.qk_norm = true;
  conv.tie_embeddings = true;
  ModelConfig& other = add_model("other_forms");
  other.engram.conv = true;
  other.engram.conv_reset = false;
  other.engram.boundary = NgramBoundary::kSequence;
  other.engram.gate = GateForm::kPlain;
  other.engram.orders = {2, 3, 4};
  other.moe.route_scale = 2.5;
  other.moe.shared_hidden = 20;
  other.attention.num_kv_heads = 2;
  ModelConfig& dense = add_model("dense");
  dense.moe.num_experts = 0;
  dense.engram.layers = {};

  const TemporaryDirectory directory;
  std::vector<std::string> names;
  for (const auto& [name, config] : models) {
    const RunTokenizer tokenizer = load_tokenizer(config);
    const std::string checkpoints = directory / fmt::format("{}.checkpoints", name);
    export_with_reference(test::trained_checkpoint(config, tokenizer, 2, checkpoints), tokenizer, directory / name);
    names.push_back(name);
  }
  expect_same_logits(directory, names);
}

// ENGRAM_EXPORT_CHECKPOINT=runs/quickstart, for instance, from where the run was trained.
TEST(ExportTorchSlow, TransformersComputesTheSameLogitsOfAGivenCheckpoint) {
  const char* given = std::getenv("ENGRAM_EXPORT_CHECKPOINT");
  if (given == nullptr || !has_torch()) GTEST_SKIP() << "wants ENGRAM_EXPORT_CHECKPOINT, and a Python with torch";
  const TemporaryDirectory directory;
  const std::string checkpoint = resolve_checkpoint(given);
  export_with_reference(checkpoint, load_tokenizer(checkpoint_config(checkpoint)), directory / "given");
  expect_same_logits(directory, {"given"});
}

}  // namespace
}  // namespace engram
