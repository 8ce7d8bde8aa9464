#include "trainer/cli_verb.h"

namespace engram {
namespace {

CLI::Option* add_checkpoint_argument(CLI::App* verb, const char* name, std::string& target) {
  return verb->add_option(name, target, "checkpoint, or directory of a run (its newest)")
      ->required()
      ->type_name("CHECKPOINT");
}

void add_export(CLI::App& group, CheckpointExportCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(group, chosen, fields,
                            {"export", "Weights as safetensors, with all that transformers needs to run them.",
                             "engram checkpoint export runs/quickstart --output exported"});
  add_checkpoint_argument(verb, "checkpoint", fields.checkpoint);
  verb->add_option("--output", fields.output, "directory to write; must not be there yet")
      ->required()
      ->type_name("DIR");
  verb->add_option_function<std::string>(
          "--dtype", [&fields](const std::string& dtype) { fields.bfloat16 = dtype == "bfloat16"; },
          "of the weights: float32 (unless told) or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->type_name("DTYPE");
  verb->add_option("--shard-mib", fields.shard_mib, "largest file, 4096 MiB unless told")
      ->transform(whole_number(1))
      ->type_name("N");
  verb->add_option("--tokenizer", fields.tokenizer, "tokenizer.json; default: the run's")->type_name("FILE");
}

void add_import(CLI::App& group, CheckpointImportCommand& fields, Command& chosen) {
  CLI::App* verb = add_verb(
      group, chosen, fields,
      {"import", "A checkpoint at step 0 from an export.", "engram checkpoint import exported --output runs/imported"});
  verb->add_option("directory", fields.directory, "what `checkpoint export` wrote")->required()->type_name("DIR");
  verb->add_option("--output", fields.output, "directory of a run that has no checkpoint yet")
      ->required()
      ->type_name("RUN");
}

}  // namespace

void add_checkpoint(CLI::App& app, CheckpointCommands& checkpoint, Command& chosen) {
  const std::string example = "engram checkpoint inspect runs/quickstart";
  CLI::App* group = add_group(app, {"checkpoint", "Checkpoints: inspect, verify, diff, export, import.", example});
  CLI::App* inspect =
      add_verb(*group, chosen, checkpoint.inspect, {"inspect", "Step, files and arrays of a checkpoint.", example});
  add_checkpoint_argument(inspect, "checkpoint", checkpoint.inspect.checkpoint);
  CLI::App* verify = add_verb(*group, chosen, checkpoint.verify,
                              {"verify", "Check every digest, and that nothing of the model is missing.",
                               "engram checkpoint verify runs/quickstart"});
  add_checkpoint_argument(verify, "checkpoint", checkpoint.verify.checkpoint);
  CLI::App* diff = add_verb(*group, chosen, checkpoint.diff,
                            {"diff", "Configuration keys and arrays that differ between two checkpoints.",
                             "engram checkpoint diff runs/first runs/second"});
  add_checkpoint_argument(diff, "first", checkpoint.diff.first);
  add_checkpoint_argument(diff, "second", checkpoint.diff.second);
  add_export(*group, checkpoint.exported, chosen);
  add_import(*group, checkpoint.imported, chosen);
}

}  // namespace engram
