#include "trainer/train_loop.h"

#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "model/accounting.h"
#include "trainer/checkpoint.h"
#include "trainer/config.h"
#include "trainer/estimate.h"
#include "trainer/evaluate.h"
#include "trainer/metrics.h"
#include "trainer/progress.h"
#include "trainer/step.h"
#include "trainer/terminal.h"

namespace engram {
namespace {

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

// One run of `engram train` on one rank: the replica, its data, and what is told to the user (rank 0 alone).
class TrainRun {
 public:
  TrainRun(Communicator& world, const RunConfig& config)
      : tokenizer_(load_tokenizer(config)),
        train_(open_store(config.data.train, tokenizer_.tokenizer)),
        replica_(config, world, tokenizer_.map(), DType::kFloat32),
        loader_(train_, {.seq_len = config.data.seq_len,
                         .history = replica_.history(),
                         .seed = static_cast<uint64_t>(config.run.seed)}),
        identity_(identity_of(tokenizer_, &train_)) {
    if (!config.data.validation.empty()) open_validation();
  }

  void run() {
    resume();
    if (is_first()) start_log();
    while (replica_.step < config().train.steps) {
      const StepReport report = step();
      const bool last = replica_.step == config().train.steps;
      if (validation_loader_ && (last || falls_on(config().train.eval_every))) validate();
      if (last || falls_on(config().checkpoint.every)) save();
      if (report.skipped && is_first()) log_->event(report.step, "skip", {{"norm", report.norm}});
    }
    if (is_first()) finish();
  }

 private:
  const RunConfig& config() const { return replica_.config; }
  bool is_first() const { return replica_.world.rank() == 0; }
  bool falls_on(int64_t interval) const { return interval > 0 && replica_.step % interval == 0; }
  std::string checkpoints() const { return config().run.directory() + "/checkpoints"; }
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

  void open_validation() {
    validation_.emplace(open_store(config().data.validation, tokenizer_.tokenizer));
    validation_loader_.emplace(*validation_, BatchLoaderOptions{.seq_len = config().data.seq_len,
                                                                .history = replica_.history(),
                                                                .seed = 0,
                                                                .order = SampleOrder::kSequential});
  }

  void resume() {
    const auto newest = newest_checkpoint(checkpoints());
    if (!newest) return;
    if (!config().checkpoint.resume) {
      throw ConfigError("checkpoint.resume: is false, but " + *newest +
                        " is there; give the run another name (run.name), or remove " + config().run.directory());
    }
    load_checkpoint(replica_, identity_, *newest, LoadScope::kResume);
    if (is_first()) std::cout << "resuming from " << *newest << std::endl;
  }

  void start_log() {
    log_.emplace(config().run.directory(), replica_.step);
    progress_.emplace(std::cout, Progress::Options{.logging = config().logging,
                                                   .total_steps = config().train.steps,
                                                   .terminal = stdout_is_terminal(),
                                                   .clock = {}});
    log_->event(replica_.step, replica_.step == 0 ? "start" : "resume",
                {{"config_digest", config_digest(config())},
                 {"data_digest", identity_.data_digest},
                 {"ranks", int64_t{replica_.world.size()}}});
  }

  StepReport step() {
    const double begin = seconds();
    const Batch batch = next_batch(replica_, loader_);
    const double seconds_data = seconds() - begin;
    const StepReport report = train_step(replica_, batch);
    if (is_first()) tell(report, seconds_data);
    return report;
  }

  void tell(const StepReport& report, double seconds_data) {
    const double step_seconds = report.seconds + seconds_data;
    const int64_t step_tokens = config().train.global_batch * config().data.seq_len;
    StepMetrics metrics;
    metrics.step = report.step;
    metrics.tokens = report.step * step_tokens;
    metrics.loss = report.loss;
    metrics.norm = report.norm;
    metrics.lr = report.lr;
    metrics.tok_s = static_cast<double>(step_tokens) / step_seconds;
    metrics.flops = metrics.tok_s * flops_per_token_;
    metrics.data_wait = seconds_data / step_seconds;
    metrics.mem = peak_resident_bytes();
    if (config().model.moe.num_experts > 0) {
      metrics.experts_max_over_mean = report.experts_max_over_mean;
      metrics.experts_dead = report.experts_dead;
    }
    if (replica_.memory) {
      metrics.exchange = report.seconds_exchange / step_seconds;
      metrics.engram_unique = report.unique_rows;
      metrics.engram_gate = report.mean_gate;
    }
    metrics.skipped = report.skipped ? 1 : 0;
    metrics.wall = seconds();
    log_->write(metrics);
    progress_->step(metrics);
  }

  void validate() {
    const int64_t samples = std::min(config().train.eval_samples, validation_loader_->num_windows());
    const double loss = evaluate(replica_, *validation_loader_, samples);
    if (!is_first()) return;
    log_->event(replica_.step, "eval", {{"loss", loss}, {"samples", samples}});
    progress_->note("step " + std::to_string(replica_.step) + ": validation loss " +
                    number_text(std::round(loss * 1e4) / 1e4) + " over " +
                    std::to_string(samples * config().data.seq_len) + " tokens");
  }

  void save() {
    if (is_first()) log_->sync();
    save_checkpoint(replica_, identity_, checkpoints());
    if (is_first()) log_->event(replica_.step, "save");
  }

  void finish() {
    progress_->finish();
    std::cout << "finished: " << replica_.step << " steps in " << duration_text(seconds()) << ", results in "
              << config().run.directory() << "\nnext: engram generate "
              << newest_checkpoint(checkpoints()).value_or("CHECKPOINT") << " --prompt \"...\"" << std::endl;
  }

  RunTokenizer tokenizer_;
  TokenStore train_;
  std::optional<TokenStore> validation_;
  Replica replica_;
  BatchLoader loader_;
  std::optional<BatchLoader> validation_loader_;
  RunIdentity identity_;
  std::optional<MetricsLog> log_;
  std::optional<Progress> progress_;
  double flops_per_token_ = training_flops_per_token(replica_.config.model, replica_.config.data.seq_len);
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

void run_train(Communicator& world, const TrainCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  check_trainable(config);
  check_world(config, world.size());
  if (world.rank() == 0) {
    std::cout << print_config(config, /*mark_changes=*/true) << "\n"
              << estimate_text(config, world.size()) << std::endl;
  }
  TrainRun run(world, config);  // opens the tokenizer and the stores, and takes all memory
  if (!command.dry_run) run.run();
}

}  // namespace engram
