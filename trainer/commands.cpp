#include "trainer/commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "data/atomic_file.h"
#include "data/utf8.h"
#include "kernels/core/device.h"
#include "trainer/checkpoint.h"
#include "trainer/compute.h"
#include "trainer/config.h"
#include "trainer/config_fields.h"
#include "trainer/estimate.h"
#include "trainer/eval_report.h"
#include "trainer/evaluate.h"
#include "trainer/explain.h"
#include "trainer/generate.h"
#include "trainer/key_suggestion.h"
#include "trainer/manifest.h"
#include "trainer/run_report.h"
#include "trainer/run_tokenizer.h"
#include "trainer/scale_model.h"
#include "trainer/terminal.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// The configuration of a checkpoint, for use on any number of ranks, on the CPU where there is no card, and, where
// given, with another tokenizer file.
RunConfig config_for_use(const std::string& checkpoint, const std::string& tokenizer, int64_t world_size) {
  RunConfig config = checkpoint_config(checkpoint);
  config.data.tokenizer = tokenizer.empty() ? tokenizer_of(checkpoint, config) : tokenizer;
  if (num_cuda_devices() == 0) {
    config.device = DeviceChoice::kCpu;
    config.train.precision = Precision::kAuto;
  }
  config.parallel.expert = std::gcd(config.parallel.expert, world_size);
  config.parallel.table = 0;
  config.train.micro_batch = config.model.engram.addressing == Addressing::kShuffled ? 2 : 1;
  config.train.global_batch = config.train.micro_batch * world_size;
  config.train.recompute = false;
  config.optimizer.table.kind = TableOptimizerKind::kSgd;  // keeps nothing beside the rows
  config.checkpoint.asynchronous = false;                  // no save, no copy for it
  return config;
}

// Texts of a model with shuffled addressing would read the rows of one another.
void check_texts_stand_alone(const RunConfig& config, const std::string& checkpoint) {
  ENGRAM_CHECK(
      config.model.engram.addressing != Addressing::kShuffled, checkpoint,
      ": model.engram.addressing is shuffled, so that every text reads the rows of another; such a model gives "
      "a loss on a token store alone");
}

// The tasks of a file, or those of them that are asked for.
std::vector<EvalTask> chosen_tasks(const EvalCommand& command) {
  std::vector<EvalTask> all = load_eval_tasks(command.tasks);
  if (command.only.empty()) return all;
  std::vector<std::string> names;
  for (const EvalTask& task : all) names.push_back(task.name);
  std::vector<EvalTask> chosen;
  for (const std::string& name : command.only) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      throw ConfigError(fmt::format("--only {}: {} has no task of that name{} (known: {})", name, command.tasks,
                                    suggestion_text(nearest_names(name, names)),
                                    joined(std::vector<std::string_view>(names.begin(), names.end()))));
    }
    if (std::count(command.only.begin(), command.only.end(), name) > 1)
      throw ConfigError(fmt::format("--only {}: is given twice; wanted each task once", name));
    chosen.push_back(all[static_cast<size_t>(found - names.begin())]);
  }
  return chosen;
}

// Throws before anything is scored where the results could not be written after it.
void check_outputs(const EvalCommand& command) {
  if (!command.output.empty() && command.output == command.items)
    throw ConfigError("--output and --items: both are " + command.output);
  for (const std::string& path : {command.output, command.items}) {
    if (path.empty()) continue;
    ENGRAM_CHECK_AS(IoError, !fs::is_directory(path), path, ": is a directory; wanted a file to write");
    const std::string folder = fs::absolute(path).parent_path();
    ENGRAM_CHECK_AS(IoError, ::access(folder.c_str(), W_OK) == 0, path, ": cannot be written: ", std::strerror(errno));
  }
}

void run_tasks(Communicator& world, const EvalCommand& command, RunConfig config, const std::string& checkpoint) {
  constexpr int64_t kTokensAtOnce = 4096;
  check_texts_stand_alone(config, checkpoint);
  const RunTokenizer tokenizer = load_tokenizer(config);
  const std::vector<EvalTask> tasks = chosen_tasks(command);
  together(world, [&] {
    if (world.rank() == 0) check_outputs(command);
  });
  std::vector<EvalItems> items;  // of all tasks before the first is scored, so that a bad file is told at once
  for (const EvalTask& task : tasks) items.push_back(read_eval_items(task, command.root, tokenizer.tokenizer));
  config.train.micro_batch = std::max<int64_t>(1, kTokensAtOnce / config.data.seq_len);
  Replica replica(config, world, tokenizer.map(), model_dtype(config));
  load_checkpoint(replica, identity_of(tokenizer), checkpoint, LoadScope::kWeights);

  const bool is_first = world.rank() == 0;
  if (is_first) std::cout << eval_table_head() << std::flush;
  std::vector<EvalResult> results;
  for (size_t i = 0; i < tasks.size(); ++i) {
    results.push_back(run_eval_task(replica, tokenizer.tokenizer, tasks[i], items[i], command.samples));
    if (is_first) std::cout << eval_table_lines(results.back()) << std::flush;
  }
  if (!is_first) return;
  std::cout << eval_table_foot();
  const EvalSubject subject{.checkpoint = checkpoint,
                            .checkpoint_digest = digest_of_file(checkpoint + "/" + kManifestName),
                            .step = read_manifest(checkpoint).step,
                            .tokenizer_digest = tokenizer.tokenizer.digest(),
                            .device = std::string(enum_name(config.device)),
                            .precision = name_of(model_dtype(config))};
  if (!command.output.empty()) write_file_atomically(command.output, eval_json(subject, results));
  if (!command.items.empty()) write_file_atomically(command.items, eval_item_lines(results));
}

}  // namespace

void run_estimate(const EstimateCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  if (!command.network.empty()) {
    std::cout << scale_text(config,
                            {.network = command.network, .ranks = command.ranks, .local_batch = command.local_batch});
    return;
  }
  for (const int64_t num_ranks : command.ranks.empty() ? std::vector<int64_t>{1} : command.ranks) {
    check_world(config, num_ranks);
    std::cout << estimate_text(config, num_ranks);
  }
}

void run_config_print(const ConfigPrintCommand& command) {
  std::cout << print_config(load_config(command.config, command.sets), /*mark_changes=*/true);
}

void run_config_explain(const ConfigExplainCommand& command) { std::cout << explain_key(command.key) << "\n"; }

void run_report(const ReportCommand& command) {
  std::vector<RunRecord> runs;
  for (const std::string& directory : command.runs) runs.push_back(read_run(directory));
  const std::string output = command.output.empty() ? command.runs[0] + "/report.html" : command.output;
  write_file_atomically(output, run_report_html(runs));
  std::cout << "wrote " << output << "\n";
}

void run_eval(Communicator& world, const EvalCommand& command) {
  const Requests requests(world);
  const std::string checkpoint = resolve_checkpoint(command.checkpoint);
  const RunConfig config = config_for_use(checkpoint, command.tokenizer, world.size());
  if (!command.tasks.empty()) return run_tasks(world, command, config, checkpoint);
  const std::string path = command.data.empty() ? config.data.validation : command.data;
  ENGRAM_CHECK(!path.empty(), "eval: no data; the run has no data.validation, give --data STORE");
  const RunTokenizer tokenizer = load_tokenizer(config);
  const TokenStore store = open_store(world, path, tokenizer.tokenizer);
  Replica replica(config, world, tokenizer.map(), model_dtype(config));
  requests.leave_if_asked();
  load_checkpoint(replica, identity_of(tokenizer), checkpoint, LoadScope::kWeights);

  const BatchLoader loader(
      store,
      {.seq_len = config.data.seq_len, .history = replica.history(), .seed = 0, .order = SampleOrder::kSequential});
  const int64_t samples = command.samples == 0 ? loader.num_windows() : std::min(command.samples, loader.num_windows());
  const double loss = evaluate(replica, loader, samples, requests);
  if (world.rank() != 0) return;
  std::cout << fmt::format("loss {:.4f} nats per token, perplexity {:.2f}, over {} tokens of {}\n", loss,
                           std::exp(loss), samples * config.data.seq_len, path);
}

void run_generate(Communicator& world, const GenerateCommand& command) {
  const std::string checkpoint = resolve_checkpoint(command.checkpoint);
  const RunConfig config = config_for_use(checkpoint, command.tokenizer, world.size());
  check_texts_stand_alone(config, checkpoint);
  const RunTokenizer tokenizer = load_tokenizer(config);
  Replica replica(config, world, tokenizer.map(), model_dtype(config));
  load_checkpoint(replica, identity_of(tokenizer), checkpoint, LoadScope::kWeights);

  Utf8Stream text;
  const auto print = [&](const std::string& part) {
    if (world.rank() == 0) std::cout << part << std::flush;
  };
  const auto emit = [&](int32_t token) { print(text.push(tokenizer.tokenizer.bytes(token))); };
  print(command.prompt);
  generate(replica, tokenizer.tokenizer.encode(command.prompt),
           {.num_tokens = command.tokens,
            .temperature = command.temperature,
            .top_p = command.top_p,
            .seed = static_cast<uint64_t>(command.seed),
            .num_ids = tokenizer.tokenizer.vocabulary_size()},
           tokenizer.tokenizer.end_of_text().value_or(-1), emit);
  print(text.finish() + "\n");
}

void run_explain(Communicator& world, const ExplainCommand& command) {
  const bool has_checkpoint = !command.checkpoint.empty();
  const std::string checkpoint = has_checkpoint ? resolve_checkpoint(command.checkpoint) : "";
  RunConfig config = has_checkpoint ? config_for_use(checkpoint, command.tokenizer, world.size())
                                    : load_config(command.config, command.sets);
  if (!command.tokenizer.empty()) config.data.tokenizer = command.tokenizer;
  ENGRAM_CHECK(!config.data.tokenizer.empty(), "explain: data.tokenizer is empty; give --tokenizer FILE");
  const RunTokenizer tokenizer = load_tokenizer(config);
  Explanation explanation = explain(tokenizer.tokenizer.encode(command.text), tokenizer, config.model.engram);
  if (has_checkpoint) {
    Replica replica(config, world, tokenizer.map(), model_dtype(config));
    load_checkpoint(replica, identity_of(tokenizer), checkpoint, LoadScope::kWeights);
    explanation.gates = engram_gates(replica, explanation);
  }
  if (world.rank() == 0) std::cout << explanation_text(explanation, tokenizer, stdout_is_terminal()) << std::flush;
}

}  // namespace engram
