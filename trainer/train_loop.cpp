#include "trainer/train_loop.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "data/atomic_file.h"
#include "kernels/core/device_info.h"
#include "model/accounting.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_saver.h"
#include "trainer/compute.h"
#include "trainer/config.h"
#include "trainer/estimate.h"
#include "trainer/evaluate.h"
#include "trainer/exit_codes.h"
#include "trainer/manifest.h"
#include "trainer/metrics.h"
#include "trainer/ngram_statistics.h"
#include "trainer/progress.h"
#include "trainer/run_start.h"
#include "trainer/run_tokenizer.h"
#include "trainer/step.h"
#include "trainer/terminal.h"
#include "trainer/version.h"

namespace engram {
namespace {

constexpr const char* kSkips =
    " steps in a row (train.max_skips) changed nothing, for a spike or a loss or gradient that is not finite; look at "
    "the data and the learning rate; the state before them is saved as ";
constexpr const char* kRewinds =
    " rewinds in a row met another spike before a new checkpoint; look at the data and the learning rate";

constexpr int64_t kMostRewinds = 3;
constexpr int64_t kMostNgramTokens = 16384;  // of a step's batch, so that nobody waits for long
constexpr double kPausesOfASave = 15;        // all of them, over the first

// A spike after which a run begins again at its newest checkpoint, past the batch that it came from.
struct Rewind {
  int64_t step = 0;
  int64_t passed_batches = 0;  // until then
  double loss = 0, norm = 0;
  int64_t times = 1;  // in a row without a new checkpoint
};

int exit_code_of(Request request) { return request == Request::kPreempt ? kExitRequeue : kExitOk; }

// One run of `engram train` on one rank: the replica, its data, and what is told to the user (rank 0 alone).
class TrainRun {
 public:
  TrainRun(Communicator& world, Pulse& pulse, const RunConfig& config, const std::optional<Rewind>& after)
      : pulse_(pulse),
        after_(after),
        tokenizer_(load_tokenizer(config)),
        train_(world, config, tokenizer_.tokenizer),
        replica_(config, world, tokenizer_.map(), model_dtype(config)),
        loader_(train_.weighted(), {.seq_len = config.data.seq_len,
                                    .history = replica_.history(),
                                    .seed = static_cast<uint64_t>(config.run.seed)}),
        identity_(identity_of(tokenizer_, train_)),
        requests_(replica_.world, config.run.directory()),
        saver_(replica_, identity_, checkpoints(), [this](const std::string& problem) { tell_fault(problem); }) {
    if (!config.data.validation.empty()) open_validation();
  }

  // Trains to the end, or until asked to leave, out of hope, or at a spike that another run is to pass (rewind());
  // returns the exit code. Throws Interrupted before the first step.
  int run() {
    together(replica_.world, [&] {  // before anything of the run's directory changes
      if (is_first()) lock_.emplace(lock_run(config().run.directory()));
    });
    requests_.leave_if_asked();
    resumed_ = start_run(replica_, identity_, config().checkpoint.resume || after_.has_value());
    if (after_) replica_.passed_batches = after_->passed_batches + after_->step - replica_.step;
    requests_.leave_if_asked();
    if (is_first()) start_log();
    if (is_first()) remove_remains();
    if (replica_.step > 0 && validates() && !has_validated()) validate();  // it was interrupted
    told_at_ = seconds();
    while (!ends()) step();
    pulse_.rest(Pulse::Place::kSave);
    if (running_) wait_running();
    finish_save();
    replica_.await_weights();  // so that what fails there is told
    if (rewind_ && after_ && !has_saved_) rewind_->times = after_->times + 1;
    if (!rewind_ || gives_up()) requests_.fulfilled(request_);
    if (is_first()) finish();
    together(replica_.world, [&] {
      if (is_first()) log_->close();
    });
    return gives_up() ? kExitGiveUp : exit_code_of(request_);
  }

  // What run() would do first, without doing it.
  void check() { check_start(replica_, identity_); }

  // Where the run that comes next goes on, if one must.
  const std::optional<Rewind>& rewind() const { return rewind_; }

 private:
  void step() {
    pulse_.begin_step(replica_.step + 1);
    if (!next_) begin_prepare_of(replica_.step + 1);
    PreparedStep prepared = *std::exchange(next_, std::nullopt);
    finish_prepare(replica_, prepared);
    // Queued before this step, it runs under the step before and is done when its own turn comes.
    if (replica_.step + 1 < config().train.steps) begin_prepare_of(replica_.step + 2);
    PendingReport issued = train_step(replica_, prepared, {.request = asked(), .save_work = saver_.num_ended()});
    tell_running();  // the step before, while this one runs on the card
    running_ = issued;
    if (works_at_once() || saves() || validates()) tell_running();
    if (rewind_ || (!saves() && !validates())) return;
    tell_touched_rows();
    if (is_first()) tell_ngrams();
    if (validates()) validate();
    if (saves()) save();
    told_at_ = seconds();
  }

  // Lines that the disk goes on refusing end the run as a request does: it is saved first.
  Request asked() const {
    return std::max(requests_.poll(), log_ && log_->gives_up() ? Request::kPreempt : Request::kNone);
  }

  const RunConfig& config() const { return replica_.config; }
  bool is_first() const { return replica_.world.rank() == 0; }
  bool works_at_once() const { return config().device == DeviceChoice::kCpu; }
  bool is_last() const { return replica_.step >= config().train.steps; }
  bool gives_up() const { return num_skips_ >= config().train.max_skips || (rewind_ && rewind_->times > kMostRewinds); }
  bool ends() const { return is_last() || asks_to_leave(request_) || gives_up() || rewind_; }
  bool saves() const {
    if (rewind_) return false;
    if (request_ == Request::kSave || asks_to_leave(request_)) return true;
    return is_last() ? config().checkpoint.at_end : gives_up() || falls_on(config().checkpoint.every);
  }
  bool validates() const {
    return !rewind_ && validation_loader_ && (is_last() || falls_on(config().train.eval_every));
  }
  bool falls_on(int64_t interval) const { return interval > 0 && replica_.step % interval == 0; }
  std::string checkpoints() const { return config().run.directory() + "/checkpoints"; }
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

  void open_validation() {
    validation_.emplace(open_store(replica_.world, config().data.validation, tokenizer_.tokenizer));
    validation_loader_.emplace(*validation_, BatchLoaderOptions{.seq_len = config().data.seq_len,
                                                                .history = replica_.history(),
                                                                .seed = 0,
                                                                .order = SampleOrder::kSequential});
  }

  void start_log() {
    log_.emplace(config().run.directory(), replica_.step, config().logging.tensorboard,
                 kPausesOfASave * config().checkpoint.retry_seconds);
    progress_.emplace(std::cout, Progress::Options{.logging = config().logging,
                                                   .total_steps = config().train.steps,
                                                   .terminal = stdout_is_terminal(),
                                                   .clock = {}});
    write_file_atomically(config().run.directory() + "/" + kConfigName, print_config(config()));
    keep_tokenizer(config(), identity_.tokenizer_digest);
    log_->event(replica_.step, replica_.step == 0 ? "start" : "resume",
                {{"config_digest", config_digest(config())},
                 {"data_digest", identity_.data_digest},
                 {"ranks", int64_t{replica_.world.size()}},
                 {"commit", commit()},
                 {"host", host_name()},
                 {"device", device_info(replica_.stream).name}});
    for (const std::string& damage : resumed_.damaged) log_->event(replica_.step, "fault", {{"passed_over", damage}});
    if (!after_) return;
    log_->event(replica_.step, "rewind",
                {{"from_step", after_->step},
                 {"loss", after_->loss},
                 {"norm", after_->norm},
                 {"passed_batches", replica_.passed_batches}});
  }

  // Of a save or a removal that the run before did not finish.
  void remove_remains() {
    const CheckpointConfig& settings = config().checkpoint;
    const std::string refused = remove_old_checkpoints(checkpoints(), settings.keep, settings.keep_every);
    if (!refused.empty()) tell_fault(refused);
  }

  void begin_prepare_of(int64_t step) {
    const double begin = seconds();
    const Batch batch = load_batch(replica_, loader_, step);
    seconds_data_ = seconds() - begin;
    next_ = begin_prepare(replica_, batch);
  }

  void tell_running() {
    if (!running_) return;
    const StepReport report = wait_running();
    const double now = seconds(), step_seconds = now - std::exchange(told_at_, now);
    request_ = std::max(request_, report.request);
    num_skips_ = report.skipped ? num_skips_ + 1 : 0;
    if (saver_.all_ended(report.save_work)) advance_save();
    if (report.is_spike && config().train.spike_policy == SpikePolicy::kRewind) begin_rewind(report);
    if (!is_first()) return;
    tell(report, step_seconds);
    if (report.is_spike) tell_spike(report);
    if (report.skipped) log_->event(report.step, "skip", {{"norm", report.norm}});
  }

  void begin_rewind(const StepReport& report) {
    rewind_ = {
        .step = report.step, .passed_batches = replica_.passed_batches, .loss = report.loss, .norm = report.norm};
  }

  void tell_spike(const StepReport& report) {
    log_->event(report.step, "spike", {{"loss", report.loss}, {"norm", report.norm}});
    progress_->note(fmt::format("step {}: loss {:.4f}, norm {:.3g}: a spike (train.spike_policy: {})", report.step,
                                report.loss, report.norm, enum_name(config().train.spike_policy)));
  }

  StepReport wait_running() {
    const Pulse::Wait waiting(pulse_);
    return std::exchange(running_, std::nullopt)->wait();
  }

  void tell(const StepReport& report, double step_seconds) {
    const int64_t step_tokens = config().train.global_batch * config().data.seq_len;
    StepMetrics metrics = metrics_of(report, config());
    metrics.tok_s = static_cast<double>(step_tokens) / step_seconds;
    metrics.flops = metrics.tok_s * flops_per_token_;
    metrics.data_wait = seconds_data_ / step_seconds;
    if (replica_.memory) metrics.exchange = report.seconds_exchange / step_seconds;
    metrics.mem = memory_in_use(replica_.stream);
    metrics.wall = seconds();
    log_->write(metrics);
    progress_->step(metrics);
    if (const std::string problem = log_->new_problem(); !problem.empty()) tell_fault(problem);
  }

  void tell_touched_rows() {
    if (!replica_.memory) return;
    const std::optional<double> touched = replica_.memory->share_touched(replica_.stream);
    if (touched && is_first()) log_->event(replica_.step, "rows", {{"never_touched", 1 - *touched}});
  }

  // Of this step's batch, or its first samples: the same on any number of ranks. They are loaded again, so that no step
  // keeps them.
  void tell_ngrams() {
    if (!has_ngrams(config().model.engram)) return;
    const int64_t most = std::max<int64_t>(kMostNgramTokens / config().data.seq_len, 1);
    const Batch batch =
        loader_.load(first_sample(replica_, replica_.step), std::min(most, config().train.global_batch));
    log_->event(replica_.step, "ngrams", ngram_fields(ngram_statistics(batch, config().model.engram, tokenizer_)));
  }

  // Whether the log says so, on all ranks alike.
  bool has_validated() {
    int64_t found = is_first() && log_->has_event(replica_.step, "eval") ? 1 : 0;
    all_reduce_max<int64_t>(replica_.world, std::span(&found, 1));
    return found == 1;
  }

  // Where it is interrupted, the run that resumes does it.
  void validate() {
    pulse_.rest(Pulse::Place::kValidation);
    try {
      report_validation();
    } catch (const Interrupted& interrupted) {
      request_ = interrupted.request();
    }
  }

  void report_validation() {
    const int64_t samples = std::min(config().train.eval_samples, validation_loader_->num_windows());
    const double loss = evaluate(replica_, *validation_loader_, samples, requests_);
    if (!is_first()) return;
    log_->event(replica_.step, "eval", {{"loss", loss}, {"samples", samples}});
    progress_->note("step " + std::to_string(replica_.step) + ": validation loss " +
                    number_text(std::round(loss * 1e4) / 1e4) + " over " +
                    std::to_string(samples * config().data.seq_len) + " tokens");
  }

  // What is told of the run is on the disk before its checkpoint can be.
  void save() {
    pulse_.rest(Pulse::Place::kSave);
    finish_save();
    if (is_first()) log_->sync();
    saver_.begin();
    if (ends() || request_ == Request::kSave || !config().checkpoint.asynchronous) finish_save();
    if (request_ == Request::kSave) requests_.fulfilled(std::exchange(request_, Request::kNone));
  }

  void advance_save() {
    pulse_.rest(Pulse::Place::kSave);  // a save that failed is tried again after a pause
    tell_saved(saver_.advance());
    pulse_.begin_step(replica_.step);
  }

  void finish_save() { tell_saved(saver_.finish()); }

  void tell_saved(const std::optional<SavedCheckpoint>& saved) {
    has_saved_ |= saved.has_value();
    if (!saved || !is_first()) return;
    log_->event(saved->step, "save",
                {{"bytes", saved->num_bytes}, {"seconds", saved->seconds}, {"stall_seconds", saved->stall_seconds}});
  }

  void tell_fault(const std::string& problem) {
    progress_->note(problem);
    log_->event(replica_.step, "fault", {{"problem", problem}});
  }

  std::string why_it_gives_up(const std::string& checkpoint) const {
    return rewind_ ? std::to_string(kMostRewinds) + kRewinds : std::to_string(num_skips_) + kSkips + checkpoint;
  }

  void finish() {
    progress_->finish();
    if (log_->is_refused()) return;  // close() waits, or says so
    const std::string checkpoint = newest_checkpoint(checkpoints()).value_or("CHECKPOINT");
    if (gives_up()) return tell_fault("gave up: " + why_it_gives_up(checkpoint));
    if (rewind_) return;
    if (asks_to_leave(request_)) {
      log_->event(replica_.step, "signal", {{"asked", request_ == Request::kStop ? "to stop" : "to make room"}});
      std::cout << "stopped after step " << replica_.step << " of " << config().train.steps << " on request, saved as "
                << checkpoint << "; the same command goes on from there" << std::endl;
      return;
    }
    std::cout << "finished: " << replica_.step << " steps in " << duration_text(seconds()) << ", results in "
              << config().run.directory() << std::endl;
    if (config().checkpoint.at_end)
      std::cout << "next: engram generate " << checkpoint << " --prompt \"...\"" << std::endl;
  }

  Pulse& pulse_;
  std::optional<Rewind> after_, rewind_;  // what this run begins with, and ends with
  RunTokenizer tokenizer_;
  TrainingData train_;
  std::optional<TokenStore> validation_;
  Replica replica_;
  BatchLoader loader_;
  std::optional<BatchLoader> validation_loader_;
  RunIdentity identity_;
  Requests requests_;
  Request request_ = Request::kNone;  // of all ranks, not yet fulfilled
  int64_t num_skips_ = 0;             // of the last steps, in a row
  bool has_saved_ = false;
  ResumedFrom resumed_;
  std::optional<FileLock> lock_;
  std::optional<MetricsLog> log_;
  std::optional<Progress> progress_;
  std::optional<PreparedStep> next_;  // begun
  std::optional<PendingReport> running_;
  double seconds_data_ = 0;  // of loading the last batch
  double told_at_ = 0;       // when the last step was told, or the pause after it ended
  double flops_per_token_ = training_flops_per_token(replica_.config.model, replica_.config.data.seq_len);
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  CheckpointSaver saver_;  // last: it tells the log
};

}  // namespace

int run_train(Communicator& world, Pulse& pulse, const TrainCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  pulse.set_limits({.silence_seconds = config.parallel.silence_seconds,
                    .wait_seconds = static_cast<double>(config.parallel.timeout_seconds)});
  check_trainable(config);
  check_world(config, world.size());
  if (world.rank() == 0) {
    std::cout << print_config(config, /*mark_changes=*/true) << "\n"
              << estimate_text(config, world.size()) << std::endl;
  }
  try {
    std::optional<Rewind> rewind;
    while (true) {
      TrainRun run(world, pulse, config, rewind);  // opens the tokenizer and the stores, and takes all memory
      if (command.dry_run) {
        run.check();
        return kExitOk;
      }
      const int code = run.run();
      rewind = run.rewind();
      if (!rewind || code == kExitGiveUp) return code;
    }
  } catch (const Interrupted& interrupted) {
    Requests(world, config.run.directory()).fulfilled(interrupted.request());
    if (world.rank() == 0) std::cout << "stopped on request before the first step" << std::endl;
    return exit_code_of(interrupted.request());
  }
}

}  // namespace engram
