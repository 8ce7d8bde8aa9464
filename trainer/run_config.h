#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_config.h"

// The configuration of a run: what a YAML file or --set can say. Paths are relative to the working directory.
namespace engram {

enum class DeviceChoice { kCpu, kCuda };
constexpr auto enum_names(DeviceChoice) { return std::array<std::string_view, 2>{"cpu", "cuda"}; }

// auto: bfloat16 on cuda, float32 on cpu.
enum class Precision { kAuto, kBFloat16, kFloat32 };
constexpr auto enum_names(Precision) { return std::array<std::string_view, 3>{"auto", "bfloat16", "float32"}; }

enum class DocumentMask { kOff };
constexpr auto enum_names(DocumentMask) { return std::array<std::string_view, 1>{"off"}; }

enum class TableOptimizerKind { kAdamLazy, kAdamDense, kRowwiseAdam, kRowwiseAdagrad, kSgd };
constexpr auto enum_names(TableOptimizerKind) {
  return std::array<std::string_view, 5>{"adam_lazy", "adam_dense", "rowwise_adam", "rowwise_adagrad", "sgd"};
}

// all: one norm over every parameter. separate: one over the tables, one over the rest.
enum class ClipScope { kAll, kSeparate };
constexpr auto enum_names(ClipScope) { return std::array<std::string_view, 2>{"all", "separate"}; }

enum class ScheduleKind { kCosine, kWsd, kStep, kConstant };
constexpr auto enum_names(ScheduleKind) { return std::array<std::string_view, 4>{"cosine", "wsd", "step", "constant"}; }

enum class DecayShape { kLinear, kSqrt };
constexpr auto enum_names(DecayShape) { return std::array<std::string_view, 2>{"linear", "sqrt"}; }

struct RunInfo {
  std::string name = "run";
  std::string dir = "runs";
  int64_t seed = 0;
  std::string init_from;

  std::string directory() const { return dir + "/" + name; }  // metrics, events, checkpoints
};

// A token store to train on, and how much of the samples it gives relative to the others.
struct TrainingStore {
  std::string store;
  double weight = 1;
};

struct DataConfig {
  std::vector<TrainingStore> train;
  std::string validation;
  std::string tokenizer;
  int64_t seq_len = 256;
  DocumentMask document_mask = DocumentMask::kOff;
};

// Where memory tables and the state of their optimizer lie. host: a step has only its own rows on the device.
enum class TablePlacement { kDevice, kHost };
constexpr auto enum_names(TablePlacement) { return std::array<std::string_view, 2>{"device", "host"}; }

struct ParallelConfig {
  int64_t expert = 1;
  double expert_headroom = 2.0;
  int64_t table = 0;
  TablePlacement table_placement = TablePlacement::kDevice;
  double bucket_mib = 32;
  int64_t timeout_seconds = 600;
  double silence_seconds = 30;
};

// What AdamW keeps its moments in; stochastically rounded to bfloat16.
enum class Moments { kFloat32, kBFloat16 };
constexpr auto enum_names(Moments) { return std::array<std::string_view, 2>{"float32", "bfloat16"}; }

struct DenseOptimizerConfig {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  Moments moments = Moments::kFloat32;
};

struct TableOptimizerConfig {
  TableOptimizerKind kind = TableOptimizerKind::kAdamLazy;
  double lr_mult = 5.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
};

struct ClipConfig {
  double norm = 1.0;  // 0 = no clipping
  ClipScope scope = ClipScope::kAll;
};

// What is done about a step whose loss or gradient norm stands out. log: tells. skip: leaves the model as it was.
// rewind: goes back to a checkpoint, and past the data since.
enum class SpikePolicy { kLog, kSkip, kRewind };
constexpr auto enum_names(SpikePolicy) { return std::array<std::string_view, 3>{"log", "skip", "rewind"}; }

// See trainer/schedule.h for the formulas.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kCosine;
  int64_t warmup_steps = 0;
  double min_ratio = 0.1;
  int64_t flat_steps = 0;
  int64_t tail_steps = 0;
  int64_t decay_steps = 0;
  DecayShape decay_shape = DecayShape::kLinear;
};

struct OptimizerConfig {
  DenseOptimizerConfig dense;
  TableOptimizerConfig table;
  ClipConfig clip;
  ScheduleConfig schedule;
};

inline constexpr double kMostSteps = 1e8;  // their learning rates are held in memory

struct TrainConfig {
  int64_t steps = 0;
  int64_t global_batch = 0;
  int64_t micro_batch = 1;
  Precision precision = Precision::kAuto;
  int64_t logits_chunk = 1024;
  bool recompute = false;
  bool deterministic = true;
  bool graphs = true;
  int64_t max_skips = 10;
  SpikePolicy spike_policy = SpikePolicy::kLog;
  double spike_sigma = 6;
  int64_t eval_every = 0;
  int64_t eval_samples = 64;
};

struct CheckpointConfig {
  int64_t every = 0;
  bool at_end = true;
  int64_t keep = 2;
  int64_t keep_every = 0;
  bool asynchronous = true;
  double retry_seconds = 1;
  bool resume = true;
};

struct LoggingConfig {
  int64_t interval_steps = 0;
  double interval_seconds = 10.0;
  bool tensorboard = true;
};

struct RunConfig {
  RunInfo run;
  DeviceChoice device = DeviceChoice::kCpu;
  ModelConfig model;
  DataConfig data;
  ParallelConfig parallel;
  OptimizerConfig optimizer;
  TrainConfig train;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
};

// Every broken rule, ranges and combinations, of the run and all structs in it; keys are full paths.
ConfigProblems validate(const RunConfig& config);

template <class Visitor>
void visit_fields(RunInfo& c, Visitor&& field) {
  field("name", c.name, "name of the run, and of its directory in run.dir");
  field("dir", c.dir, "where the directories of runs are");
  field("seed", c.seed, Range{0, kAnyCount}, "seed of the initial weights and of the data order");
  field("init_from", c.init_from, "checkpoint, run or export whose weights a new run starts from; empty = none");
}

template <class Visitor>
void visit_fields(DataConfig& c, Visitor&& field) {
  field("train", c.train, "token store to train on, made by `data build`; or a list of {store, weight}");
  field("validation", c.validation, "token store of held-out text");
  field("tokenizer", c.tokenizer, "tokenizer.json the stores were made with");
  field("seq_len", c.seq_len, Range{1, 1e7}, "tokens of a sample");
  field("document_mask", c.document_mask, "attention across documents of a sample; off = not masked");
}

template <class Visitor>
void visit_fields(ParallelConfig& c, Visitor&& field) {
  field("expert", c.expert, Range{1, 1e6}, "ranks that share the experts; 1 = each rank has all");
  field("expert_headroom", c.expert_headroom, Range{1, 1e6},
        "rows that a rank has room for, over the rows that it sends to experts");
  field("table", c.table, Range{0, 1e6}, "ranks that share the memory tables; 0 = all ranks");
  field("table_placement", c.table_placement, "where the memory tables lie; host = in the memory of the rank's host");
  field("bucket_mib", c.bucket_mib, Range{0, 1e6},
        "least MiB of gradients that ranks sum at once, in whole layers; 0 = layer by layer");
  field("timeout_seconds", c.timeout_seconds, Range{1, 1e6},
        "seconds until a collective of GPUs counts as lost, or a rank that others wait for outside of training steps");
  field("silence_seconds", c.silence_seconds, Range{0, 1e6},
        "training: seconds without a sign of life, or of a step longer than five others, that end it; 0 = never");
}

template <class Visitor>
void visit_fields(DenseOptimizerConfig& c, Visitor&& field) {
  field("lr", c.lr, Range{0, 10}, "peak learning rate of AdamW");
  field("beta1", c.beta1, Range{0, 0.999999}, "decay of the first moment");
  field("beta2", c.beta2, Range{0, 0.999999}, "decay of the second moment");
  field("eps", c.eps, Range{kLeastEpsilon, 1}, "added to the root of the corrected second moment");
  field("weight_decay", c.weight_decay, Range{0, 1},
        "decoupled decay per step, times the learning rate; of all dense weights, gains of norms too");
  field("moments", c.moments, "what both moments are kept in: float32, or bfloat16 at half the memory");
}

template <class Visitor>
void visit_fields(TableOptimizerConfig& c, Visitor&& field) {
  field("kind", c.kind, "adam_dense: all rows move; others: touched rows; rowwise_*: one second moment per row");
  field("lr_mult", c.lr_mult, Range{0, 1e4}, "learning rate of the tables over that of the dense part");
  field("beta1", c.beta1, Range{0, 0.999999}, "decay of the first moment");
  field("beta2", c.beta2, Range{0, 0.999999}, "decay of the second moment");
  field("eps", c.eps, Range{kLeastEpsilon, 1}, "added to the root of the second moment, corrected or summed");
}

template <class Visitor>
void visit_fields(ClipConfig& c, Visitor&& field) {
  field("norm", c.norm, Range{0, 1e6}, "largest norm of the gradient; 0 = no clipping");
  field("scope", c.scope, "one norm over all parameters, or tables on their own");
}

template <class Visitor>
void visit_fields(ScheduleConfig& c, Visitor&& field) {
  field("kind", c.kind, "course of the learning rate after the warm-up");
  field("warmup_steps", c.warmup_steps, Range{0, 1e9}, "steps of the linear warm-up");
  field("min_ratio", c.min_ratio, Range{0, 1}, "cosine, wsd: last learning rate over the peak");
  field("flat_steps", c.flat_steps, Range{0, 1e9}, "cosine: steps at the peak after the warm-up");
  field("tail_steps", c.tail_steps, Range{0, 1e9}, "cosine: last steps, at the minimum");
  field("decay_steps", c.decay_steps, Range{0, 1e9}, "wsd: last steps, in which the rate falls");
  field("decay_shape", c.decay_shape, "wsd: falls linearly, or by 1 - sqrt(progress)");
}

template <class Visitor>
void visit_fields(OptimizerConfig& c, Visitor&& field) {
  field("dense", c.dense, "AdamW of everything but the tables");
  field("table", c.table, "optimizer of the memory tables; no weight decay");
  field("clip", c.clip, "limit on the gradient's norm");
  field("schedule", c.schedule, "course of the learning rate");
}

template <class Visitor>
void visit_fields(TrainConfig& c, Visitor&& field) {
  field("steps", c.steps, required({0, kMostSteps}), "optimizer steps of the run");
  field("global_batch", c.global_batch, required({1, 1e9}), "sequences of a step, over all ranks");
  field("micro_batch", c.micro_batch, Range{1, 1e6}, "sequences a rank computes at once");
  field("precision", c.precision, "what is computed in; auto = bfloat16 on cuda, float32 on cpu");
  field("logits_chunk", c.logits_chunk, Range{1, 1e9}, "tokens whose logits are held at once");
  field("recompute", c.recompute, "compute each block again in backward instead of keeping its activations");
  field("deterministic", c.deterministic, "the same bits on every run; false lets attention on CUDA add in any order");
  field("graphs", c.graphs, "a single card repeats the launches of a micro-batch as one CUDA graph");
  field("max_skips", c.max_skips, Range{1, 1e9}, "skipped steps in a row, not finite or a spike, that end the run");
  field("spike_policy", c.spike_policy, "for a loss or norm that stands out: log, skip the step, or rewind");
  field("spike_sigma", c.spike_sigma, Range{0, 1e6},
        "standard deviations over the mean of the last 128 steps that make a spike");
  field("eval_every", c.eval_every, Range{0, 1e12}, "steps between validations; 0 = only at the end");
  field("eval_samples", c.eval_samples, Range{1, 1e9}, "sequences of a validation, over all ranks");
}

template <class Visitor>
void visit_fields(CheckpointConfig& c, Visitor&& field) {
  field("every", c.every, Range{0, 1e12}, "steps between checkpoints; 0 = only at the end");
  field("at_end", c.at_end, "one after the last step; false where only the metrics count");
  field("keep", c.keep, Range{1, 1e6}, "newest checkpoints that are kept");
  field("keep_every", c.keep_every, Range{0, 1e12}, "checkpoints of its multiples stay for good; 0 = none");
  field("asynchronous", c.asynchronous, "write beside the training, from a copy in host memory");
  field("retry_seconds", c.retry_seconds, Range{0, 60}, "pause after a save that failed; doubles up to 60");
  field("resume", c.resume, "go on from the newest complete checkpoint of the run, if there is one");
}

template <class Visitor>
void visit_fields(LoggingConfig& c, Visitor&& field) {
  field("interval_steps", c.interval_steps, Range{0, 1e9}, "steps between progress lines; 0 = by time");
  field("interval_seconds", c.interval_seconds, Range{0, 60}, "seconds between progress lines");
  field("tensorboard", c.tensorboard, "write an event file for TensorBoard beside the metrics");
}

template <class Visitor>
void visit_fields(RunConfig& c, Visitor&& field) {
  field("run", c.run, "name, place and seed");
  field("device", c.device, "what computes");
  field("model", c.model, "shape of the model");
  field("data", c.data, "token stores and tokenizer");
  field("parallel", c.parallel, "how ranks share experts and tables");
  field("optimizer", c.optimizer, "optimizers, clipping and schedule");
  field("train", c.train, "length and batch of the run, validation");
  field("checkpoint", c.checkpoint, "when checkpoints are written, and resuming");
  field("logging", c.logging, "progress lines, TensorBoard");
}

}  // namespace engram
