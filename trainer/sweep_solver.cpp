#include "trainer/sweep_solver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <optional>

#include "trainer/config.h"

namespace engram {
namespace {

// Parameters that one more column of the shared experts' width adds.
int64_t parameters_per_width(const ModelConfig& model) { return 3 * model.hidden * model.num_mixtures(); }

int64_t nearest_multiple(double value, int64_t step) { return std::llround(value / static_cast<double>(step)) * step; }

// `model` with `scale` base rows in the heads of the first order, and the others in proportion.
ModelConfig with_scaled_rows(ModelConfig model, const std::vector<int64_t>& proportions, int64_t scale) {
  model.engram.rows_per_head.clear();
  for (const int64_t rows : proportions) {
    const double scaled = static_cast<double>(scale) * static_cast<double>(rows) / static_cast<double>(proportions[0]);
    model.engram.rows_per_head.push_back(std::max<int64_t>(2, std::llround(scaled)));
  }
  return model;
}

// The rows whose total is nearest to `target`; nothing where even the fewest have more.
std::optional<ModelConfig> solve_rows(const ModelConfig& model, int64_t target) {
  const std::vector<int64_t> proportions = model.engram.rows_per_head;
  const auto excess = [&](int64_t scale) {
    return total_parameters(count_parameters(with_scaled_rows(model, proportions, scale))) - target;
  };
  int64_t low = 2;
  if (excess(low) > 0) return std::nullopt;
  int64_t high = 2 * low;
  while (excess(high) <= 0) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (excess(middle) <= 0 ? low : high) = middle;
  }
  return with_scaled_rows(model, proportions, -excess(low) <= excess(high) ? low : high);
}

// Shared experts narrowed until the active parameters are nearest to `active`. Returns the width, perhaps none.
int64_t compensated_width(const ModelConfig& model, int64_t active, int64_t width_step) {
  const int64_t surplus = count_parameters(model).active() - active;
  return nearest_multiple(static_cast<double>(model.moe.shared_width()) -
                              static_cast<double>(surplus) / static_cast<double>(parameters_per_width(model)),
                          width_step);
}

struct Attempt {
  ModelConfig model;
  std::string problem;  // "" = solved
};

Attempt attempt(const ModelConfig& base, int64_t num_experts, const SolveOptions& options) {
  const ParameterCount pure = count_parameters(without_tables(base));
  Attempt result{.model = base, .problem = {}};
  ModelConfig& model = result.model;
  model.moe.num_experts = num_experts;
  if (options.compensate == Compensation::kSharedExpert) {
    const int64_t width = compensated_width(model, pure.active(), options.width_step);
    if (width < options.width_step) {
      result.problem = fmt::format(
          "the memory computes more than the shared experts' width {} can make up for; the nearest feasible is a width "
          "of {} (model.moe.shared_hidden), or sweep.compensate none",
          model.moe.shared_width(), model.moe.shared_width() + options.width_step - width);
      return result;
    }
    model.moe.shared_hidden = width;
  }
  const auto solved = solve_rows(model, total_parameters(pure));
  if (!solved) {
    result.problem = "fewer than 2 base rows per head would be left for the tables";
    return result;
  }
  model = *solved;
  const std::vector<int64_t> rows = table_rows(model);
  const int64_t fewest = *std::min_element(rows.begin(), rows.end());
  const double difference = static_cast<double>(total_parameters(count_parameters(model)) - total_parameters(pure));
  if (fewest < options.ranks) {
    result.problem = fmt::format("a table of {} rows is below one row for each of {} ranks", fewest, options.ranks);
  } else if (std::abs(difference) > kTotalTolerance * static_cast<double>(total_parameters(pure))) {
    result.problem = fmt::format("the nearest total differs by {:.2f} %; at most 0.1 % is equal",
                                 100 * difference / static_cast<double>(total_parameters(pure)));
  }
  return result;
}

// The largest ratio below `num_experts` that can be solved, as text.
std::string nearest_feasible(const ModelConfig& base, int64_t num_experts, const SolveOptions& options) {
  const int64_t top_k = base.moe.top_k;
  for (int64_t fewer = num_experts - 1; fewer >= top_k; --fewer) {
    if (!attempt(base, fewer, options).problem.empty()) continue;
    const double ratio = static_cast<double>(fewer - top_k) / static_cast<double>(base.moe.num_experts - top_k);
    return fmt::format("; the nearest feasible is {:.4g} ({} experts)", std::floor(ratio * 1e4) / 1e4, fewer);
  }
  return "; no smaller ratio is feasible either: make the memory narrower (model.engram.memory_dim) or the model "
         "larger";
}

}  // namespace

int64_t total_parameters(const ParameterCount& count) { return count.total() - count.embedding - count.head; }

double expert_share(const ParameterCount& count) {
  if (count.sparse() == 0) return 1;
  return static_cast<double>(count.sparse() - count.engram_tables) / static_cast<double>(count.sparse());
}

ModelConfig without_tables(const ModelConfig& model) {
  ModelConfig plain = model;
  plain.engram.layers.clear();
  return plain;
}

ModelConfig solve_ratio(const ModelConfig& base, double ratio, const SolveOptions& options) {
  const int64_t top_k = base.moe.top_k, most = base.moe.num_experts;
  assert(ratio >= 0 && ratio <= 1);  // validate(SweepConfig) refuses others
  const int64_t num_experts = top_k + std::llround(ratio * static_cast<double>(most - top_k));
  if (num_experts == most) {
    if (ratio == 1) return without_tables(base);
    const double nearest = static_cast<double>(most - 1 - top_k) / static_cast<double>(most - top_k);
    throw ConfigError(fmt::format("ratio {} is ratio 1 once experts are whole; the nearest feasible below it is {:.4g}",
                                  ratio, nearest));
  }
  const Attempt result = attempt(base, num_experts, options);
  if (result.problem.empty()) return result.model;
  const bool smaller_may_do = result.problem.find("nearest feasible") == std::string::npos;
  throw ConfigError(fmt::format("ratio {} ({} experts): {}{}", ratio, num_experts, result.problem,
                                smaller_may_do ? nearest_feasible(base, num_experts, options) : ""));
}

ModelConfig with_table_rows(const ModelConfig& base, int64_t table_rows) {
  return table_rows == 0 ? without_tables(base) : with_scaled_rows(base, base.engram.rows_per_head, table_rows);
}

ModelConfig with_wider_shared_experts(const ModelConfig& base, int64_t width_step) {
  ModelConfig model = without_tables(base);
  const int64_t extra = count_parameters(base).active() - count_parameters(model).active();
  const double wider = static_cast<double>(extra) / static_cast<double>(parameters_per_width(model));
  model.moe.shared_hidden = nearest_multiple(static_cast<double>(model.moe.shared_width()) + wider, width_step);
  return model;
}

}  // namespace engram
