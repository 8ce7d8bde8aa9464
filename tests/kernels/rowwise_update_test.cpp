#include <limits>

#include "kernels/row_update.h"
#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

constexpr int64_t kSlots = 11, kWidth = 37;                       // more columns than one lane_sum() takes at once
constexpr double kGradScale = 0.25, kLrRatio = 0.5, kRate = 0.1;  // kRate: learning rate times kLrRatio

enum class Rule { kAdam, kAdagrad };
constexpr Rule kRules[] = {Rule::kAdam, Rule::kAdagrad};

// The rules in double on whole tables; v is the second moment or the sum of each row.
struct Oracle {
  RowAdamOptions options;
  Rule rule = Rule::kAdam;
  std::vector<double> weight;
  std::vector<double> m = std::vector<double>(kSlots * kWidth), v = std::vector<double>(kSlots);
  std::vector<int64_t> count = std::vector<int64_t>(kSlots);

  void step(const std::vector<int64_t>& slots, const std::vector<double>& grad) {
    for (size_t i = 0; i < slots.size(); ++i) {
      const auto slot = static_cast<size_t>(slots[i]);
      double squares = 0;
      for (size_t c = 0; c < kWidth; ++c) squares += std::pow(grad[i * kWidth + c] * kGradScale, 2) / kWidth;
      const auto n = static_cast<double>(++count[slot]);
      v[slot] = rule == Rule::kAdam ? options.beta2 * v[slot] + (1 - options.beta2) * squares : v[slot] + squares;
      const double v_hat = rule == Rule::kAdam ? v[slot] / (1 - std::pow(options.beta2, n)) : v[slot];
      for (size_t c = 0; c < kWidth; ++c) {
        const double g = grad[i * kWidth + c] * kGradScale;
        double& moment = m[slot * kWidth + c];
        if (rule == Rule::kAdam) moment = options.beta1 * moment + (1 - options.beta1) * g;
        const double direction = rule == Rule::kAdam ? moment / (1 - std::pow(options.beta1, n)) : g;
        weight[slot * kWidth + c] -= kRate * direction / (std::sqrt(v_hat) + options.eps);
      }
    }
  }
};

struct RowwiseUpdateTest : test::CpuFixture {
  RowAdamOptions options{.lr = kRate / kLrRatio, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-20};

  struct Table {
    Tensor weight, m, v, count;
  };
  template <class T>
  Table make_table() {
    return {test::random_tensor<T>(arena, 1, {kSlots, kWidth}), test::constant_tensor(arena, T(0), {kSlots, kWidth}),
            test::constant_tensor(arena, T(0), {kSlots}), test::constant_tensor<int32_t>(arena, 0, {kSlots})};
  }
  Table copy_of(const Table& t) {
    return {test::clone(arena, t.weight), test::clone(arena, t.m), test::clone(arena, t.v),
            test::clone(arena, t.count)};
  }
  void apply(Rule rule, const Tensor& control, const Table& table, const Tensor& slots, const Tensor& grad) {
    if (rule == Rule::kAdam) {
      row_update_rowwise_adam(stream, control, slots, grad, options, table.weight, {table.m, table.v}, table.count);
    } else {
      row_update_rowwise_adagrad(stream, control, slots, grad, {options.lr, options.eps}, table.weight, table.v);
    }
  }
  template <class T>
  void update(Rule rule, const Table& table, const std::vector<int64_t>& slots, const std::vector<double>& grad) {
    Arena::Scope scope(arena);
    const int64_t m = std::ssize(slots);
    const Tensor values = test::tensor_of<T>(arena, std::vector<T>(grad.begin(), grad.end()), {m, kWidth});
    const Tensor control = test::control_tensor(arena, {.grad_scale = kGradScale, .lr_ratio = kLrRatio});
    apply(rule, control, table, test::tensor_of<int64_t>(arena, slots, {m}), values);
  }
  static std::vector<double> gradient(int64_t key, size_t num_rows) {
    std::vector<double> grad;
    for (size_t i = 0; i < num_rows * kWidth; ++i) {
      grad.push_back(normal(7, RandomDomain::kSampling, static_cast<uint32_t>(key), i));
    }
    return grad;
  }
  static double worst(const Tensor& got, const std::vector<double>& want) {
    double error = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      error = std::max(error, std::abs(test::element(got, static_cast<int64_t>(i)) - want[i]));
    }
    return error;
  }

  // 300 steps over rows of very different popularity; slot 10 is touched in step 1 alone, slot 9 never.
  template <class T>
  void expect_oracle(Rule rule, double weight_bound, double state_bound) {
    const Table table = make_table<T>();
    const auto values = host_span<T>(table.weight);
    Oracle oracle{.options = options, .rule = rule, .weight = {values.begin(), values.end()}};
    const std::vector<double> start = oracle.weight;
    for (int64_t step = 1; step <= 300; ++step) {
      std::vector<int64_t> slots;
      for (int64_t slot = kSlots - 1; slot >= 0; --slot) {  // in descending order: any order will do
        if (slot == 9 || (slot == 10 && step > 1) || (slot < 9 && step % (slot + 1) != 0)) continue;
        slots.push_back(slot);
      }
      const std::vector<double> grad = gradient(step, slots.size());
      update<T>(rule, table, slots, grad);
      oracle.step(slots, grad);
    }
    double moved = 0;
    for (size_t i = 0; i < start.size(); ++i) moved = std::max(moved, std::abs(oracle.weight[i] - start[i]));
    EXPECT_LT(worst(table.weight, oracle.weight), weight_bound * moved);
    EXPECT_LT(worst(table.m, oracle.m), state_bound);
    EXPECT_LT(worst(table.v, oracle.v), state_bound * *std::ranges::max_element(oracle.v));
    for (size_t slot = 0; rule == Rule::kAdam && slot < kSlots; ++slot) {
      EXPECT_EQ(host_span<int32_t>(table.count)[slot], oracle.count[slot]);
    }
  }

  // The rows of two tables that differ in any array.
  static std::vector<int64_t> changed_rows(const Table& now, const Table& then) {
    std::vector<int64_t> changed;
    for (int64_t slot = 0; slot < kSlots; ++slot) {
      const auto same = [&](const Tensor& a, const Tensor& b) {
        return test::same_bits(a.rows(slot, 1), b.rows(slot, 1));
      };
      const bool unchanged =
          same(now.weight, then.weight) && same(now.m, then.m) && same(now.v, then.v) && same(now.count, then.count);
      if (!unchanged) changed.push_back(slot);
    }
    return changed;
  }
};

TEST_F(RowwiseUpdateTest, MatchesTheOracleOverManySteps) {
  for (const Rule rule : kRules) {
    expect_oracle<double>(rule, 1e-13, 1e-14);
    expect_oracle<float>(rule, 1e-5, 1e-6);
  }
}

TEST_F(RowwiseUpdateTest, UntouchedRowsKeepEveryBit) {
  for (const Rule rule : kRules) {
    const Table table = make_table<float>();
    update<float>(rule, table, {4, 2}, gradient(1, 2));
    const Table before = copy_of(table);
    for (int step = 0; step < 17; ++step) update<float>(rule, table, {2}, gradient(step, 1));
    EXPECT_EQ(changed_rows(table, before), std::vector<int64_t>{2});
  }
}

// Rows that are not touched move no more than rows whose gradient is 0.
TEST_F(RowwiseUpdateTest, AdagradOfTouchedRowsEqualsAdagradOfAllRows) {
  const Table sparse = make_table<float>(), dense = make_table<float>();
  std::vector<int64_t> all;
  for (int64_t slot = 0; slot < kSlots; ++slot) all.push_back(slot);
  for (int64_t step = 0; step < 5; ++step) {
    const std::vector<double> grad = gradient(step, 1);
    std::vector<double> grads(kSlots * kWidth);
    std::ranges::copy(grad, grads.begin() + 3 * step * kWidth % (kSlots * kWidth));
    update<float>(Rule::kAdagrad, sparse, {3 * step % kSlots}, grad);
    update<float>(Rule::kAdagrad, dense, all, grads);
  }
  EXPECT_EQ(changed_rows(sparse, dense), std::vector<int64_t>{});
}

// Whenever it comes and whatever the gradient's size: the second moment is that of the row, its count the row's own.
TEST_F(RowwiseUpdateTest, TheFirstTouchMovesARowByTheLearningRateInTheMeanSquare) {
  for (const Rule rule : kRules) {
    for (const double size : {1e-3, 1e3}) {
      const Table table = make_table<double>();
      for (int step = 0; step < 300; ++step) update<double>(rule, table, {0}, gradient(step, 1));
      std::vector<double> grad = gradient(1, 1);
      for (double& g : grad) g *= size;
      const Table before = copy_of(table);
      update<double>(rule, table, {3}, grad);
      double squares = 0;
      for (int64_t i = 3 * kWidth; i < 4 * kWidth; ++i) {
        squares += std::pow(test::element(table.weight, i) - test::element(before.weight, i), 2) / kWidth;
      }
      EXPECT_NEAR(std::sqrt(squares) / kRate, 1.0, 1e-12);
    }
  }
}

TEST_F(RowwiseUpdateTest, ZeroGradientOfATouchedRowStillCounts) {
  const Table table = make_table<float>(), before = copy_of(table);
  const std::vector<double> zeros(kWidth, 0.0);
  for (const Rule rule : kRules) update<float>(rule, table, {1}, zeros);
  EXPECT_EQ(host_span<int32_t>(table.count)[1], 1);
  EXPECT_TRUE(test::same_bits(table.weight, before.weight));  // 0 / (0 + eps)
  host_span<int32_t>(table.count)[1] = INT32_MAX;
  update<float>(Rule::kAdam, table, {1}, gradient(1, 1));
  EXPECT_EQ(host_span<int32_t>(table.count)[1], INT32_MAX);
}

TEST_F(RowwiseUpdateTest, ARefusedStepChangesNoBit) {
  const Table table = make_table<float>();
  for (const Rule rule : kRules) update<float>(rule, table, {4, 2}, gradient(1, 2));
  const Table before = copy_of(table);
  const Tensor bad = test::constant_tensor(arena, std::numeric_limits<float>::quiet_NaN(), {1, kWidth});
  const Tensor slots = test::tensor_of<int64_t>(arena, {2}, {1});
  for (const Rule rule : kRules) apply(rule, test::control_tensor(arena, {.apply = false}), table, slots, bad);
  EXPECT_EQ(changed_rows(table, before), std::vector<int64_t>{});
}

TEST_F(RowwiseUpdateTest, EmptyTablesAndNoTouchedRowsWork) {
  const Table table = make_table<float>(), before = copy_of(table);
  for (const Rule rule : kRules) update<float>(rule, table, {}, {});
  EXPECT_EQ(changed_rows(table, before), std::vector<int64_t>{});
  const Tensor none = arena.take("none", DType::kFloat32, {0, kWidth}), v = arena.take("v", DType::kFloat32, {0});
  const Table empty{none, none, v, arena.take("count", DType::kInt32, {0})};
  const Tensor control = test::control_tensor(arena, {});
  for (const Rule rule : kRules) apply(rule, control, empty, arena.take("slots", DType::kInt64, {0}), none);
}

TEST_F(RowwiseUpdateTest, RefusesWhatDoesNotFit) {
  const Tensor slots = test::tensor_of<int64_t>(arena, {0, 1}, {2}), control = test::control_tensor(arena, {});
  const Tensor grad = test::constant_tensor(arena, 1.0f, {2, kWidth});
  const auto message = [&](Rule rule, const Table& table) {
    return test::error_of([&] { apply(rule, control, table, slots, grad); });
  };
  Table table = make_table<float>();
  table.v = table.m;
  EXPECT_NE(message(Rule::kAdam, table).find("v: got float32 [11, 37], wanted float32 [11]"), std::string::npos);
  EXPECT_NE(message(Rule::kAdagrad, table).find("s: got float32 [11, 37], wanted float32 [11]"), std::string::npos);
  table = make_table<float>();
  table.m = table.v;
  EXPECT_NE(message(Rule::kAdam, table).find("m: got float32 [11], wanted float32 [11, 37]"), std::string::npos);
  table = make_table<float>();
  table.count = table.v;
  EXPECT_NE(message(Rule::kAdam, table).find("count: got float32 [11], wanted int32 [11]"), std::string::npos);
}

}  // namespace
}  // namespace engram
