#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/run_config.h"

// What a sweep file can say beside the configuration of the run that its trials vary. docs/user_guide.md explains the
// language; trainer/sweep_plan.h says what is made of it.
namespace engram {

// allocation: one budget of sparse parameters, divided between experts and tables at each of `ratios`.
// memory: a fixed backbone, tables of each of `table_rows` on top. time: as allocation, but each trial gets the tokens
// that it processes in the time of the one without tables.
enum class SweepKind { kAllocation, kMemory, kTime };
constexpr auto enum_names(SweepKind) { return std::array<std::string_view, 3>{"allocation", "memory", "time"}; }

// shared_expert: the shared experts get narrower by what Engram computes itself, so that active parameters stay equal.
enum class Compensation { kSharedExpert, kNone };
constexpr auto enum_names(Compensation) { return std::array<std::string_view, 2>{"shared_expert", "none"}; }

struct SweepConfig {
  SweepKind kind = SweepKind::kAllocation;
  std::vector<double> ratios;
  std::vector<int64_t> table_rows;
  std::vector<int64_t> seeds{0};
  std::vector<double> flops;
  std::vector<double> tokens_per_active;
  std::vector<int64_t> tokens;
  Compensation compensate = Compensation::kSharedExpert;
  int64_t width_step = 8;
  std::vector<std::string> controls;
  double control_ratio = 0.8;
  double warmup_share = 0;
  double decay_share = 0;
  int64_t evaluations = 0;
  double max_epochs = 0;
  int64_t ranks = 1;
  double memory_gib = 0;
  double flop_rate = 0;
  std::string rates;
  bool keep_weights = false;
  int64_t attempts = 3;
  std::vector<std::string> slurm;
};
ConfigProblems validate(const SweepConfig& config);

struct SweepFile : RunConfig {
  SweepConfig sweep;

  // Journal, trials and report of the sweep.
  std::string directory() const { return run.directory(); }
};
ConfigProblems validate(const SweepFile& file);

template <class Visitor>
void visit_fields(SweepConfig& c, Visitor&& field) {
  field("kind", c.kind, "what varies: shares of experts and tables; the tables' size; shares at equal time");
  field("ratios", c.ratios, "shares of the sparse parameters that are experts, in [0, 1]; 1 = no tables");
  field("table_rows", c.table_rows, Range{0, 1e12}, "memory: base rows per head of each point; 0 = no tables");
  field("seeds", c.seeds, Range{0, kAnyCount}, "run.seed of the trials of each point");
  field("flops", c.flops, Range{1, 1e30}, "budgets as 6 x active parameters x tokens; one of three ways to say it");
  field("tokens_per_active", c.tokens_per_active, Range{1e-6, 1e9}, "budgets as tokens per active parameter");
  field("tokens", c.tokens, Range{1, kAnyCount}, "budgets as tokens of a trial");
  field("compensate", c.compensate, "where the parameters are taken that Engram computes with itself");
  field("width_step", c.width_step, Range{1, 4096}, "the shared experts' compensated width is a multiple of it");
  field("controls", c.controls, "points apart from the curve: names, or key=value; see the user guide");
  field("control_ratio", c.control_ratio, Range{0, 1}, "ratio of the controls");
  field("warmup_share", c.warmup_share, Range{0, 1}, "warm-up over all steps; 0 = optimizer.schedule.warmup_steps");
  field("decay_share", c.decay_share, Range{0, 1}, "wsd: decay over all steps; 0 = optimizer.schedule.decay_steps");
  field("evaluations", c.evaluations, Range{0, 1e6}, "validations of a trial; 0 = train.eval_every");
  field("max_epochs", c.max_epochs, Range{0, 1e6}, "most passes of a trial over data.train; 0 = any number");
  field("ranks", c.ranks, Range{1, 1e5}, "ranks of a trial, each with a GPU of its own on cuda");
  field("memory_gib", c.memory_gib, Range{0, 1e6}, "memory of a rank; 0 = on cpu this machine's, on cuda not checked");
  field("flop_rate", c.flop_rate, Range{0, 1e18}, "model FLOP/s of a trial, for the estimated time; 0 = not known");
  field("rates", c.rates, "time: results.csv of a report that has this model, for tokens per second at each ratio");
  field("keep_weights", c.keep_weights, "finished trials keep their checkpoints");
  field("attempts", c.attempts, Range{1, 1000}, "failures in a row, without a new checkpoint, that end a trial");
  field("slurm", c.slurm, "lines for sbatch, for example \"--partition=gpu\"");
}

template <class Visitor>
void visit_fields(SweepFile& c, Visitor&& field) {
  field("sweep", c.sweep, "what the trials of a sweep vary, and how they run");
  visit_fields(static_cast<RunConfig&>(c), field);
}

}  // namespace engram
