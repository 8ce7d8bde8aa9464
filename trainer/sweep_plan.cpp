#include "trainer/sweep_plan.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/hdf5_file.h"
#include "trainer/config.h"
#include "trainer/estimate.h"
#include "trainer/host_memory.h"
#include "trainer/sweep_rates.h"
#include "trainer/sweep_solver.h"

namespace engram {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

int64_t multiple_of_batch(double tokens, const RunConfig& config) {
  const auto batch = static_cast<double>(config.train.global_batch * config.data.seq_len);
  return std::max<int64_t>(1, std::llround(tokens / batch));
}

std::string digest_of_settings(RunConfig config) {
  config.run.name = RunInfo{}.name;
  config.run.dir = RunInfo{}.dir;
  std::string text;
  for (const ConfigEntry& entry : config_entries(config)) {
    if (!entry.is_default) text += entry.path + "=" + entry.value + "\n";
  }
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

// Builds the points of a sweep and collects what cannot be done.
class Planner {
 public:
  explicit Planner(const SweepFile& file) : file_(file), sweep_(file.sweep), pure_(without_tables(file.model)) {}

  SweepPlan plan() {
    SweepPlan plan{.directory = file_.directory(), .points = {}, .trials = {}};
    for (const auto& [budget, tokens] : budgets()) {
      const size_t first = plan.points.size();
      if (sweep_.kind == SweepKind::kTime) rates_ = read_rates(sweep_.rates, pure_facts(budget));
      add_points(budget, tokens, plan.points);
      for (const int64_t seed : sweep_.seeds) {
        for (size_t i = first; i < plan.points.size(); ++i) plan.trials.push_back(trial(plan.points[i], seed));
      }
    }
    if (!problems_.empty()) throw ConfigError(problems_);
    return plan;
  }

 private:
  struct Budget {
    double value;
    double tokens;
  };

  std::vector<Budget> budgets() const {
    const auto active = static_cast<double>(count_parameters(pure_).active());
    std::vector<Budget> all;
    for (const double flops : sweep_.flops) all.push_back({flops, flops / (6 * active)});
    for (const double ratio : sweep_.tokens_per_active) all.push_back({ratio, ratio * active});
    for (const int64_t tokens : sweep_.tokens)
      all.push_back({static_cast<double>(tokens), static_cast<double>(tokens)});
    return all;
  }

  // What tells the model at ratio 1 and its budget from others.
  TrialFacts pure_facts(double budget) const {
    const ParameterCount n = count_parameters(pure_);
    TrialFacts facts;
    facts.budget = budget;
    facts.experts = pure_.moe.num_experts;
    facts.total_parameters = total_parameters(n);
    facts.active_parameters = n.active();
    return facts;
  }

  void refuse(const std::string& where, const std::string& what) {
    problems_ += (problems_.empty() ? "" : "\n") + where + ": " + what;
  }

  // Calls `make` with a point to fill; what it throws is a problem of the key `where`.
  template <class Make>
  void add_point(const char* where, std::vector<SweepPoint>& points, const TrialFacts& facts, const Make& make) {
    SweepPoint point{.facts = facts, .config = file_, .total_difference = 0, .active_difference = 0, .memory = {}};
    try {
      make(point);
      finish(point);
      points.push_back(std::move(point));
    } catch (const ConfigError& error) {
      refuse(where, error.what());
    }
  }

  void add_points(double budget, double tokens, std::vector<SweepPoint>& points) {
    TrialFacts facts;
    facts.kind = std::string(enum_name(sweep_.kind));
    facts.budget = budget;
    facts.tokens = std::llround(tokens);
    if (sweep_.kind == SweepKind::kMemory) {
      add_memory_points(facts, points);
      return;
    }
    for (const double ratio : sweep_.ratios) {
      facts.ratio = ratio;
      add_point("sweep.ratios", points, facts, [](const SweepPoint&) {});
    }
    facts.ratio = sweep_.control_ratio;
    for (const std::string& control : sweep_.controls) {
      facts.control = control;
      add_point("sweep.controls", points, facts, [&](SweepPoint& point) { apply_control(point); });
    }
  }

  void add_memory_points(TrialFacts facts, std::vector<SweepPoint>& points) {
    for (const int64_t rows : sweep_.table_rows) {
      facts.table_rows = rows;
      facts.control.clear();
      add_point("sweep.table_rows", points, facts, [](const SweepPoint&) {});
      for (const std::string& control : sweep_.controls) {
        if (rows == 0) continue;
        facts.control = control;
        add_point("sweep.controls", points, facts, [&](SweepPoint& point) { apply_control(point); });
      }
    }
  }

  static void apply_control(SweepPoint& point) {
    if (point.facts.control == kWideShared) point.facts.ratio = 1;
    point.config =
        parse_config(print_config(point.config), "the base configuration", control_overrides(point.facts.control));
  }

  ModelConfig solved(const SweepPoint& point) const {
    const ModelConfig& base = point.config.model;
    if (point.facts.control == kWideShared) return with_wider_shared_experts(base, sweep_.width_step);
    if (sweep_.kind == SweepKind::kMemory) return with_table_rows(base, point.facts.table_rows);
    return solve_ratio(base, point.facts.ratio,
                       {.compensate = sweep_.compensate, .width_step = sweep_.width_step, .ranks = sweep_.ranks});
  }

  // Solves the model and sets the length of the run.
  void finish(SweepPoint& point) {
    TrialFacts& facts = point.facts;
    point.config.model = solved(point);
    if (sweep_.kind == SweepKind::kTime) {
      const double factor = rate_at(rates_, facts.ratio) / rate_at(rates_, 1);
      facts.tokens = std::llround(static_cast<double>(facts.tokens) * factor);
    }
    set_length(point);
    count(point);
    check_world(point.config, sweep_.ranks);
    check_memory(point);
    check_epochs(point);
  }

  void set_length(SweepPoint& point) const {
    RunConfig& config = point.config;
    const int64_t steps = multiple_of_batch(static_cast<double>(point.facts.tokens), config);
    point.facts.steps = config.train.steps = steps;
    point.facts.tokens = steps * config.train.global_batch * config.data.seq_len;
    const auto share = [&](double part) { return std::llround(part * static_cast<double>(steps)); };
    ScheduleConfig& schedule = config.optimizer.schedule;
    if (sweep_.warmup_share > 0) schedule.warmup_steps = share(sweep_.warmup_share);
    if (sweep_.decay_share > 0) schedule.decay_steps = std::max<int64_t>(1, share(sweep_.decay_share));
    if (sweep_.evaluations > 0) config.train.eval_every = std::max<int64_t>(1, steps / sweep_.evaluations);
    if (const ConfigProblems problems = validate(config); !problems.empty()) {
      throw ConfigError(fmt::format("{}: {}: {}", point_label(point.facts), problems[0].keys[0], problems[0].text));
    }
  }

  void count(SweepPoint& point) const {
    TrialFacts& facts = point.facts;
    const ModelConfig& model = point.config.model;
    const ParameterCount n = count_parameters(model), reference = count_parameters(pure_);
    facts.achieved = expert_share(n);
    facts.experts = model.moe.num_experts;
    facts.rows_per_head = model.engram.enabled() ? model.engram.base_rows(0) : 0;
    facts.shared_width = model.moe.shared_width();
    facts.table_parameters = n.engram_tables;
    facts.total_parameters = total_parameters(n);
    facts.active_parameters = n.active();
    facts.flops_per_token = training_flops_per_token(model, point.config.data.seq_len);
    const auto relative = [](int64_t value, int64_t other) {
      return static_cast<double>(value - other) / static_cast<double>(other);
    };
    point.total_difference = relative(facts.total_parameters, total_parameters(reference));
    point.active_difference = relative(facts.active_parameters, reference.active());
  }

  // What a rank may take.
  MemoryLimit memory_limit() const {
    if (sweep_.memory_gib > 0) return {std::llround(sweep_.memory_gib * kGiB), "sweep.memory_gib"};
    if (file_.device != DeviceChoice::kCpu) return {};
    MemoryLimit limit = host_memory();
    limit.num_bytes /= sweep_.ranks;
    return limit;
  }

  void check_memory(SweepPoint& point) const {
    const ModelConfig& model = point.config.model;
    if (model.connections.streams != 1 || model.attention.kind != AttentionKind::kGqa) return;
    const auto bytes = [&](const RunConfig& config) { return estimate_memory(config, sweep_.ranks).total(); };
    point.memory = bytes(point.config);
    const MemoryLimit memory = memory_limit();
    const auto limit = static_cast<double>(memory.num_bytes);
    if (limit == 0 || static_cast<double>(*point.memory) <= limit) return;
    RunConfig smaller = point.config;
    while (smaller.train.micro_batch > 1 && static_cast<double>(bytes(smaller)) > limit) {
      do --smaller.train.micro_batch;
      while (smaller.train.global_batch % (smaller.train.micro_batch * sweep_.ranks) != 0);
    }
    const bool fits = static_cast<double>(bytes(smaller)) <= limit;
    throw ConfigError(fmt::format(
        "{} needs {:.3g} GiB on each of {} ranks, {:.3g} GiB are there ({}); the nearest feasible is {}",
        point_label(point.facts), static_cast<double>(*point.memory) / kGiB, sweep_.ranks, limit / kGiB, memory.source,
        fits ? fmt::format("train.micro_batch {}", smaller.train.micro_batch)
             : fmt::format("{:.3g} GiB, at train.micro_batch 1", static_cast<double>(bytes(smaller)) / kGiB)));
  }

  void check_epochs(const SweepPoint& point) const {
    if (sweep_.max_epochs == 0) return;
    double sum = 0;
    for (const TrainingStore& store : file_.data.train) sum += store.weight;
    for (const TrainingStore& store : file_.data.train) check_epochs(point, store.store, store.weight / sum);
  }

  // Of a store that gives this share of the tokens.
  void check_epochs(const SweepPoint& point, const std::string& store, double share) const {
    if (!std::filesystem::exists(store)) return;
    const auto unique = static_cast<double>(Hdf5Reader(store, "tokens").int_attribute("", "num_tokens"));
    const auto tokens = static_cast<double>(point.facts.tokens);
    const double limit = sweep_.max_epochs * unique / share;
    if (tokens <= limit) return;
    throw ConfigError(
        fmt::format("{} wants {} tokens, {:.2f} passes over {}; the nearest feasible is {:.0f} tokens, 6 x active x "
                    "tokens = {:.3g}",
                    point_label(point.facts), point.facts.tokens, tokens * share / unique, store, limit,
                    6 * static_cast<double>(count_parameters(pure_).active()) * limit));
  }

  PlannedTrial trial(const SweepPoint& point, int64_t seed) const {
    PlannedTrial trial{.facts = point.facts, .config = point.config, .digest = {}};
    trial.facts.seed = trial.config.run.seed = seed;
    trial.config.run.dir = trials_directory(file_.directory());
    trial.digest = digest_of_settings(trial.config);
    return trial;
  }

  const SweepFile& file_;
  const SweepConfig& sweep_;
  ModelConfig pure_;
  std::vector<MeasuredRate> rates_;
  std::string problems_;
};

}  // namespace

std::string point_label(const TrialFacts& facts) {
  const bool is_memory = facts.kind == enum_name(SweepKind::kMemory);
  std::string label = is_memory ? fmt::format("rows {}", facts.table_rows) : fmt::format("ratio {:.4g}", facts.ratio);
  if (!facts.control.empty()) label += ", " + facts.control;
  return label;
}

SweepPlan make_plan(const SweepFile& file) { return Planner(file).plan(); }

std::string trials_directory(const std::string& sweep_directory) { return sweep_directory + "/trials"; }

std::string trial_name(int64_t number) { return fmt::format("trial-{:04d}", number); }

}  // namespace engram
