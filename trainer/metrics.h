#pragma once

#include <chrono>
#include <limits>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "data/file_lock.h"
#include "trainer/tensorboard.h"

namespace engram {

struct RunConfig;
struct StepReport;

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

// One optimizer step, as every record of it shows it. NaN = does not apply (written as null, an empty cell).
struct StepMetrics {
  int64_t step = 0;            // counted from 1; a skipped step counts too
  int64_t tokens = 0;          // trained on since step 0, all ranks
  double loss = kNotMeasured;  // nats per token
  double norm = kNotMeasured;  // of the gradient, before clipping
  double lr = kNotMeasured;    // of the dense part
  double tok_s = kNotMeasured;
  double flops = kNotMeasured;      // model FLOP/s, all ranks
  double data_wait = kNotMeasured;  // time of loading a batch over that of a step; on CUDA no wait, it runs beside one
  double exchange = kNotMeasured;   // share of the step spent in row exchange
  int64_t mem = 0;                  // peak resident bytes of rank 0
  double experts_max_over_mean = kNotMeasured;
  double experts_dead = kNotMeasured;      // share of experts without a token
  double engram_unique = kNotMeasured;     // unique rows over requested rows
  double engram_rows = kNotMeasured;       // distinct ones, summed over the ranks
  double engram_bytes = kNotMeasured;      // that ranks sent one another to exchange rows
  double engram_imbalance = kNotMeasured;  // of the rows that ranks served: standard deviation over mean
  double engram_gate = kNotMeasured;       // mean gate
  double engram_gate_min = kNotMeasured;   // that of the layer where it is least
  double engram_gate_max = kNotMeasured;   // and where it is most
  int64_t skipped = 0;                     // 1 where the update was skipped
  double wall = kNotMeasured;              // seconds since the process started training
};

template <class Visitor>
void visit_fields(const StepMetrics& m, Visitor&& field) {
  field("step", m.step);
  field("tokens", m.tokens);
  field("loss", m.loss);
  field("norm", m.norm);
  field("lr", m.lr);
  field("tok_s", m.tok_s);
  field("flops", m.flops);
  field("data_wait", m.data_wait);
  field("exchange", m.exchange);
  field("mem", m.mem);
  field("experts.max_over_mean", m.experts_max_over_mean);
  field("experts.dead", m.experts_dead);
  field("engram.unique", m.engram_unique);
  field("engram.rows", m.engram_rows);
  field("engram.bytes", m.engram_bytes);
  field("engram.imbalance", m.engram_imbalance);
  field("engram.gate", m.engram_gate);
  field("engram.gate_min", m.engram_gate_min);
  field("engram.gate_max", m.engram_gate_max);
  field("skipped", m.skipped);
  field("wall", m.wall);
}

// What the report of a step says of it.
StepMetrics metrics_of(const StepReport& report, const RunConfig& config);

// Numbers by layer, order and hash head.
using HeadValues = std::vector<std::vector<std::vector<double>>>;
using EventValue = std::variant<int64_t, double, std::string, std::vector<int64_t>, HeadValues>;
using EventFields = std::vector<std::pair<std::string, EventValue>>;

// metrics.jsonl, metrics.csv (the same columns, or those that it has already), events.jsonl and, where asked for, an
// event file of TensorBoard, of one run; one rank writes. Each call appends one whole line with one write, so that a
// killed process loses at most the line it was writing. Lines that the disk refuses stay in memory and come with later
// ones. Whoever makes one holds lock_run().
class MetricsLog {
 public:
  // Opens the files in `directory` and cuts them back to `step`, the step training goes on from:
  // later lines and a torn last line go, so that no step is there twice. 0 starts anew. TensorBoard drops what its
  // earlier files have of later steps. gives_up() after `patience` seconds. Throws Error where the disk refuses.
  MetricsLog(const std::string& directory, int64_t step, bool tensorboard, double patience = 0);

  // The last step in metrics.jsonl; after opening it equals `step` unless somebody removed lines.
  int64_t last_step() const { return last_step_; }

  // `metrics.step` must be above last_step().
  void write(const StepMetrics& metrics);

  // {"step": step, "event": kind, "time": UTC, fields...}. Kinds: start, resume, rewind, save, rows, ngrams,
  // spike, skip, eval, signal, fault. TensorBoard is told the fields of type double.
  void event(int64_t step, std::string_view kind, const EventFields& fields = {});

  // Whether an event of that kind was logged at that step, by this process or one before it.
  bool has_event(int64_t step, std::string_view kind) const;

  // Brings what was written to the disk (fsync); call before a checkpoint is committed.
  void sync() { flush(/*to_disk=*/true); }

  // What the disk began to refuse since the last call; "" for nothing.
  std::string new_problem() { return std::exchange(untold_, {}); }
  // Whether lines are missing in the files; and for as long as the log has patience.
  bool is_refused() const { return refused_since_.has_value(); }
  bool gives_up() const { return is_refused() && Clock::now() - *refused_since_ >= patience_; }
  // Tries until no line is missing. Throws IoError where the log gives up.
  void close();

 private:
  using Clock = std::chrono::steady_clock;

  void flush(bool to_disk);

  std::string directory_;
  int64_t last_step_;
  std::string csv_header_;
  std::optional<AppendFile> jsonl_, csv_, events_;  // opened after they were cut back
  std::optional<TensorBoardFile> tensorboard_;
  std::chrono::duration<double> patience_;
  std::optional<Clock::time_point> refused_since_;
  std::string problem_, untold_;
};

// The file that a process holds locked while it writes the run of that directory; and the lock, in the directory that
// is made where it is missing. Throws Error where another process holds it, IoError where it cannot be made.
std::string run_lock_path(const std::string& directory);
FileLock lock_run(const std::string& directory);

// Cuts the metrics and event files of `directory` back to `step`, as MetricsLog does on opening. Files that are not
// there stay away. Returns the last step left in metrics.jsonl, 0 where there is none.
int64_t truncate_to(const std::string& directory, int64_t step);

}  // namespace engram
