#include "trainer/train_loop.h"

#include <chrono>
#include <cmath>
#include <iostream>

#include "kernels/core/device_info.h"
#include "model/accounting.h"
#include "trainer/checkpoint.h"
#include "trainer/compute.h"
#include "trainer/config.h"
#include "trainer/estimate.h"
#include "trainer/evaluate.h"
#include "trainer/metrics.h"
#include "trainer/progress.h"
#include "trainer/step.h"
#include "trainer/terminal.h"

namespace engram {
namespace {

// One run of `engram train` on one rank: the replica, its data, and what is told to the user (rank 0 alone).
class TrainRun {
 public:
  TrainRun(Communicator& world, const RunConfig& config)
      : tokenizer_(load_tokenizer(config)),
        train_(open_store(config.data.train, tokenizer_.tokenizer)),
        replica_(config, world, tokenizer_.map(), model_dtype(config)),
        loader_(train_, {.seq_len = config.data.seq_len,
                         .history = replica_.history(),
                         .seed = static_cast<uint64_t>(config.run.seed)}),
        identity_(identity_of(tokenizer_, &train_)) {
    if (!config.data.validation.empty()) open_validation();
  }

  void run() {
    resume();
    if (is_first()) start_log();
    told_at_ = seconds();
    while (replica_.step < config().train.steps) {
      if (!prepared_) prepare_next();
      PendingReport issued = train_step(replica_, *std::exchange(prepared_, std::nullopt));
      const bool last = replica_.step == config().train.steps;
      const bool validates = validation_loader_ && (last || falls_on(config().train.eval_every));
      const bool saves = last || falls_on(config().checkpoint.every), pauses = validates || saves;
      // While a step runs on the card, the step before is told and the next one prepared.
      tell_running();
      running_ = issued;
      if (pauses || works_at_once()) tell_running();
      if (!pauses) prepare_next();
      if (validates) validate();
      if (saves) save();
      if (pauses) told_at_ = seconds();
    }
    if (is_first()) finish();
  }

 private:
  const RunConfig& config() const { return replica_.config; }
  bool is_first() const { return replica_.world.rank() == 0; }
  bool works_at_once() const { return config().device == DeviceChoice::kCpu; }
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
    log_.emplace(config().run.directory(), replica_.step, config().logging.tensorboard);
    progress_.emplace(std::cout, Progress::Options{.logging = config().logging,
                                                   .total_steps = config().train.steps,
                                                   .terminal = stdout_is_terminal(),
                                                   .clock = {}});
    log_->event(replica_.step, replica_.step == 0 ? "start" : "resume",
                {{"config_digest", config_digest(config())},
                 {"data_digest", identity_.data_digest},
                 {"ranks", int64_t{replica_.world.size()}}});
  }

  void prepare_next() {
    const double begin = seconds();
    const Batch batch = next_batch(replica_, loader_);
    seconds_data_ = seconds() - begin;
    prepared_ = prepare(replica_, batch);
  }

  void tell_running() {
    if (!running_) return;
    const StepReport report = std::exchange(running_, std::nullopt)->wait();
    const double now = seconds(), step_seconds = now - std::exchange(told_at_, now);
    if (!is_first()) return;
    tell(report, step_seconds);
    if (report.skipped) log_->event(report.step, "skip", {{"norm", report.norm}});
  }

  void tell(const StepReport& report, double step_seconds) {
    const int64_t step_tokens = config().train.global_batch * config().data.seq_len;
    StepMetrics metrics;
    metrics.step = report.step;
    metrics.tokens = report.step * step_tokens;
    metrics.loss = report.loss;
    metrics.norm = report.norm;
    metrics.lr = report.lr;
    metrics.tok_s = static_cast<double>(step_tokens) / step_seconds;
    metrics.flops = metrics.tok_s * flops_per_token_;
    metrics.data_wait = seconds_data_ / step_seconds;
    metrics.mem = memory_in_use(replica_.stream);
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
  std::optional<PreparedStep> prepared_;
  std::optional<PendingReport> running_;
  double seconds_data_ = 0;  // of loading the last batch
  double told_at_ = 0;       // when the last step was told, or the pause after it ended
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
