#pragma once

#include "model/accounting.h"
#include "trainer/sweep_config.h"

// One point of a sweep: how many experts and table rows, and how wide the shared experts, so that totals and active
// parameters equal those of the model without tables (arXiv:2601.07372, section 3.1).
namespace engram {

// Both without embedding and head, in every comparison.
int64_t total_parameters(const ParameterCount& count);
// Share of the sparse parameters that is idle experts; 1 where there are none.
double expert_share(const ParameterCount& count);

// The same model without tables.
ModelConfig without_tables(const ModelConfig& model);

struct SolveOptions {
  Compensation compensate = Compensation::kSharedExpert;
  int64_t width_step = 8;
  int64_t ranks = 1;  // that share a table: each has at least a row of it
};

// `base` is the model at ratio 1, with the shape of the memory that the others have. Experts: top_k + round(ratio *
// (base's - top_k)). Shared width: the multiple of width_step whose active parameters are nearest to those at ratio 1.
// Base rows: those whose total is nearest to the total at ratio 1, in the proportions of base's rows_per_head over the
// orders. Throws ConfigError (what, why, nearest feasible) where a head would have fewer than 2 base rows, a rank no
// row, the shared experts no width, or the totals differ by more than 0.1 %.
ModelConfig solve_ratio(const ModelConfig& base, double ratio, const SolveOptions& options);

// The fixed backbone of `base` with `table_rows` base rows in each head; 0 = without tables.
ModelConfig with_table_rows(const ModelConfig& base, int64_t table_rows);

// Ratio 1, the shared experts wider by what the memory of `base` computes itself: its active parameters without its
// tables.
ModelConfig with_wider_shared_experts(const ModelConfig& base, int64_t width_step);

inline constexpr double kTotalTolerance = 1e-3;

}  // namespace engram
