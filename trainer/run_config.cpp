#include "trainer/run_config.h"

#include <fmt/format.h>

#include "kernels/core/device.h"
#include "trainer/config.h"

namespace engram {
namespace {

void add_schedule_problems(const RunConfig& config, ConfigProblems& problems) {
  const ScheduleConfig& c = config.optimizer.schedule;
  const std::string section = "optimizer.schedule.";
  const int64_t steps = config.train.steps;
  if (c.kind == ScheduleKind::kCosine && c.flat_steps + c.tail_steps > 0 &&
      c.warmup_steps + c.flat_steps + c.tail_steps > steps) {
    problems.push_back({{section + "flat_steps", section + "tail_steps", section + "warmup_steps", "train.steps"},
                        fmt::format("warm-up {} + flat {} + tail {} steps are more than train.steps {}", c.warmup_steps,
                                    c.flat_steps, c.tail_steps, steps)});
  }
  if (c.kind != ScheduleKind::kWsd) return;
  if (c.decay_steps == 0) {
    problems.push_back(
        {{section + "decay_steps", section + "kind"}, "0 with kind wsd; wanted the length of the decay"});
  } else if (c.warmup_steps + c.decay_steps > steps) {
    problems.push_back({{section + "decay_steps", section + "warmup_steps", "train.steps"},
                        fmt::format("warm-up {} + decay {} steps are more than train.steps {}", c.warmup_steps,
                                    c.decay_steps, steps)});
  }
}

void add_run_problems(const RunInfo& run, ConfigProblems& problems) {
  const bool is_directory_name =
      !run.name.empty() && run.name != "." && run.name != ".." && run.name.find('/') == std::string::npos;
  if (!is_directory_name) {
    problems.push_back({{"run.name"}, "\"" + run.name + "\" cannot name a directory; wanted text without slashes"});
  }
  if (run.dir.empty()) problems.push_back({{"run.dir"}, "is empty; wanted a directory"});
}

[[noreturn]] void refuse(const ConfigProblems& problems) {
  std::string text;
  for (const ConfigProblem& problem : problems) {
    text += (text.empty() ? "" : "\n") + problem.keys[0] + ": " + problem.text;
  }
  throw ConfigError(text);
}

// What only accounting, or nothing yet, can do.
void add_computing_problems(const RunConfig& config, ConfigProblems& problems) {
  append_problems(problems, "model", unsupported_for_training(config.model));
  if (config.device == DeviceChoice::kCuda && !built_with_cuda()) {
    problems.push_back({{"device"}, "cuda, but this program was built without CUDA; wanted cpu"});
  }
}

// Rows of one layer's table that are there for certain: each head has at least its base size.
int64_t least_rows(const EngramConfig& engram) {
  int64_t rows = 0;
  for (size_t i = 0; i < engram.orders.size(); ++i) rows += engram.heads * engram.base_rows(static_cast<int64_t>(i));
  return rows;
}

void add_memory_problems(const RunConfig& c, ConfigProblems& problems) {
  const EngramConfig& engram = c.model.engram;
  if (engram.enabled() && engram.addressing == Addressing::kShuffled && c.train.micro_batch < 2) {
    problems.push_back({{"model.engram.addressing", "train.micro_batch"},
                        fmt::format("shuffled with train.micro_batch {}; wanted 2 or more sequences, to read the rows "
                                    "of one another",
                                    c.train.micro_batch)});
  }
  if (c.parallel.table_placement == TablePlacement::kHost && c.optimizer.table.kind == TableOptimizerKind::kAdamDense) {
    problems.push_back({{"parallel.table_placement", "optimizer.table.kind"},
                        "host with adam_dense, which moves every row each step; wanted another optimizer"});
  }
}

}  // namespace

ConfigProblems validate(const RunConfig& c) {
  ConfigProblems problems;
  for (ConfigProblem& problem : range_problems(c)) {
    if (!problem.keys[0].starts_with("model.")) problems.push_back(std::move(problem));
  }
  append_problems(problems, "model", validate(c.model));
  add_run_problems(c.run, problems);
  const int64_t num_experts = c.model.moe.num_experts;
  if (c.parallel.expert > 1 && (num_experts == 0 || num_experts % c.parallel.expert != 0)) {
    problems.push_back({{"parallel.expert", "model.moe.num_experts"},
                        fmt::format("{} ranks do not divide {} experts", c.parallel.expert, num_experts)});
  }
  if (c.train.micro_batch > 0 && c.train.global_batch % c.train.micro_batch != 0) {
    problems.push_back(
        {{"train.global_batch", "train.micro_batch"},
         fmt::format("{} sequences are no multiple of micro_batch {}", c.train.global_batch, c.train.micro_batch)});
  }
  add_memory_problems(c, problems);
  if (c.train.eval_every > 0 && c.data.validation.empty()) {
    problems.push_back({{"train.eval_every", "data.validation"},
                        fmt::format("{} without data.validation; wanted a token store", c.train.eval_every)});
  }
  for (const TrainingStore& store : c.data.train) {
    if (!store.store.empty() && store.weight > 0) continue;
    problems.push_back({{"data.train"},
                        fmt::format("store \"{}\" of weight {}; wanted a token store and a weight above 0", store.store,
                                    store.weight)});
  }
  if (const double seconds = c.parallel.silence_seconds; seconds > 0 && seconds < 3) {
    problems.push_back(
        {{"parallel.silence_seconds"},
         fmt::format("{:g}, where ranks give a sign of life every second; wanted 3 or more, or 0 = never", seconds)});
  }
  if (c.device == DeviceChoice::kCpu && c.train.precision == Precision::kBFloat16) {
    problems.push_back({{"train.precision", "device"}, "bfloat16 on cpu; wanted float32 or auto"});
  }
  add_schedule_problems(c, problems);
  return problems;
}

void check_computable(const RunConfig& config) {
  ConfigProblems problems;
  add_computing_problems(config, problems);
  if (!problems.empty()) refuse(problems);
}

void check_trainable(const RunConfig& config) {
  ConfigProblems problems;
  add_computing_problems(config, problems);
  if (config.data.train.empty()) problems.push_back({{"data.train"}, "is empty; wanted a token store to train on"});
  if (config.data.tokenizer.empty()) {
    problems.push_back({{"data.tokenizer"}, "is empty; wanted the tokenizer.json of the token store"});
  }
  if (const int64_t warmup = config.optimizer.schedule.warmup_steps; warmup > config.train.steps) {
    problems.push_back({{"optimizer.schedule.warmup_steps", "train.steps"},
                        fmt::format("{} are more than train.steps {}, so that the learning rate would end below its "
                                    "peak; wanted at most as many",
                                    warmup, config.train.steps)});
  }
  if (!problems.empty()) refuse(problems);
}

void check_world(const RunConfig& config, int64_t world_size) {
  ConfigProblems problems;
  const int64_t table_ranks = config.parallel.table == 0 ? world_size : config.parallel.table;
  if (world_size % config.parallel.expert != 0) {
    problems.push_back(
        {{"parallel.expert"},
         fmt::format("{} does not divide the {} ranks of this run", config.parallel.expert, world_size)});
  }
  if (table_ranks != world_size) {
    problems.push_back({{"parallel.table"},
                        fmt::format("{} of {} ranks would share a copy of the tables; wanted 0 or "
                                    "{}: several copies are not supported",
                                    table_ranks, world_size, world_size)});
  }
  const int64_t at_once = config.train.micro_batch * world_size;
  if (config.train.global_batch % at_once != 0) {
    problems.push_back({{"train.global_batch"},
                        fmt::format("{} is no multiple of micro_batch x ranks = {} x {} = {}",
                                    config.train.global_batch, config.train.micro_batch, world_size, at_once)});
  }
  if (config.model.engram.enabled() && least_rows(config.model.engram) < table_ranks) {
    problems.push_back({{"model.engram.rows_per_head"},
                        fmt::format("{} rows in a layer's table are fewer than the {} ranks that share it",
                                    least_rows(config.model.engram), table_ranks)});
  }
  if (!problems.empty()) refuse(problems);
}

}  // namespace engram
