#include "trainer/checkpoint_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "data/atomic_file.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_diff.h"
#include "trainer/compute.h"
#include "trainer/config.h"
#include "trainer/export.h"
#include "trainer/export_layout.h"
#include "trainer/import.h"
#include "trainer/progress.h"
#include "trainer/run_tokenizer.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// Of the parameters, whose arrays are stored flat, by folder.
std::map<std::string, std::vector<int64_t>> shapes_of_parameters(const ModelConfig& model) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ExportTensor& tensor : export_tensors(model)) {
    shapes[tensor.array.substr(0, tensor.array.rfind('/'))] = tensor.shape;
  }
  return shapes;
}

std::string array_lines(const CheckpointReader& checkpoint, const ModelConfig& model) {
  const auto shapes = shapes_of_parameters(model);
  std::string text;
  for (const auto& [name, info] : checkpoint.arrays()) {
    const auto shape = name.starts_with("dense/") ? shapes.find(name.substr(0, name.rfind('/'))) : shapes.end();
    text += fmt::format("  {:<56} {:<8} {:<20} {:>12}\n", name, name_of(info.type),
                        number_text(shape == shapes.end() ? info.shape : shape->second), bytes_text(num_bytes(info)));
  }
  return text;
}

int64_t total_bytes(const Manifest& manifest) {
  int64_t total = 0;
  for (const Manifest::File& file : manifest.files) total += file.num_bytes;
  return total;
}

// Every tensor of the model must be there with its number of elements.
void check_model(const CheckpointReader& checkpoint, const ModelConfig& model) {
  for (const ExportTensor& tensor : export_tensors(model)) {
    const auto found = checkpoint.arrays().find(tensor.array);
    ENGRAM_CHECK(found != checkpoint.arrays().end(), checkpoint.path(), ": ", tensor.array, " is missing");
    const int64_t got = found->second.shape[0] * row_elements(found->second);
    ENGRAM_CHECK(got == tensor.numel(), checkpoint.path(), ": ", tensor.array, " has ", got, " elements, the model's ",
                 tensor.numel());
  }
}

// The directory of a run as run.dir and run.name say it: "runs/a/", "." and ".." have a name too.
fs::path run_directory(const std::string& output) {
  const fs::path path = directory_path(output);
  const bool has_name = path.has_filename() && path.filename() != "." && path.filename() != "..";
  const fs::path named = has_name ? path : fs::weakly_canonical(output);
  if (!named.has_filename()) throw ConfigError("--output " + output + ": has no name; wanted the directory of a run");
  return named;
}

}  // namespace

void run_checkpoint_inspect(const CheckpointInspectCommand& command) {
  const CheckpointReader checkpoint(resolve_checkpoint(command.checkpoint));
  const Manifest& m = checkpoint.manifest();
  std::cout << fmt::format(
      "{}\n  step {}, {} updates applied, written by {} ranks, tables by {}\n  tokenizer {}, vocabulary {}\n  data "
      "{}\n",
      checkpoint.path(), m.step, m.history.applied_updates, m.world_size, m.table_optimizer,
      m.identity.tokenizer_digest, m.identity.vocabulary_digest, m.identity.data_digest);
  std::cout << "files\n";
  for (const Manifest::File& file : m.files) {
    std::cout << fmt::format("  {:<56} {:<29} {:>12}\n", file.name, file.digest.substr(0, 16),
                             bytes_text(file.num_bytes));
  }
  std::cout << "arrays\n" << array_lines(checkpoint, checkpoint_config(checkpoint.path()).model);
}

void run_checkpoint_verify(const CheckpointVerifyCommand& command) {
  const std::string path = resolve_checkpoint(command.checkpoint);
  const Manifest manifest = read_manifest(path);
  check_files(path, manifest, 0, 1);
  const CheckpointReader checkpoint(path);
  check_model(checkpoint, checkpoint_config(path).model);
  std::cout << fmt::format("{}: ok: {} files, {}; {} arrays, all digests and all rows as they should be\n", path,
                           manifest.files.size(), bytes_text(total_bytes(manifest)), checkpoint.arrays().size());
}

void run_checkpoint_diff(const CheckpointDiffCommand& command) {
  const CheckpointReader a(resolve_checkpoint(command.first)), b(resolve_checkpoint(command.second));
  std::cout << checkpoint_differences(a, b);
}

void run_checkpoint_export(const CheckpointExportCommand& command) {
  const std::string path = resolve_checkpoint(command.checkpoint);
  check_files(path, read_manifest(path), 0, 1);
  const CheckpointReader checkpoint(path);
  RunConfig config = checkpoint_config(path);
  config.data.tokenizer = command.tokenizer.empty() ? tokenizer_of(path, config) : command.tokenizer;
  export_checkpoint(checkpoint, config, load_tokenizer(config),
                    {.output = command.output,
                     .dtype = command.bfloat16 ? DType::kBFloat16 : DType::kFloat32,
                     .shard_bytes = std::min(command.shard_mib, INT64_MAX >> 20) << 20});
  std::cout << command.output << ": the weights of step " << checkpoint.manifest().step << " for transformers\n"
            << "next: AutoModelForCausalLM.from_pretrained(\"" << command.output << "\", trust_remote_code=True)\n";
}

void run_checkpoint_import(Communicator& world, const CheckpointImportCommand& command) {
  RunConfig config = read_export_config(command.directory).run;
  const fs::path run = run_directory(command.output);
  config.run.dir = run.has_parent_path() ? run.parent_path().string() : ".";
  config.run.name = run.filename();
  config.train.global_batch = world.size();
  const std::string checkpoints = config.run.directory() + "/checkpoints";
  ENGRAM_CHECK(!newest_checkpoint(checkpoints), checkpoints, ": has a checkpoint already; wanted a new --output");
  const RunTokenizer tokenizer = load_tokenizer(config);
  const RunIdentity identity = identity_of(tokenizer);
  Replica replica(config, world, tokenizer.map(), model_dtype(config));
  load_export(replica, identity, command.directory);
  save_checkpoint(replica, identity, checkpoints);
  if (world.rank() != 0) return;
  keep_tokenizer(config, identity.tokenizer_digest);
  std::cout << *newest_checkpoint(checkpoints) << ": the weights of " << command.directory << "\n";
}

}  // namespace engram
