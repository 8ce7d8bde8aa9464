#include "kernels/row_update.h"

#include <limits>

#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

using test::relative_error;

constexpr int64_t kSlots = 11, kWidth = 5;
constexpr double kGradScale = 0.25, kLrRatio = 0.5, kRate = 1e-2;  // kRate: learning rate times kLrRatio

// Textbook Adam in double on whole tables, one element at a time.
struct Oracle {
  RowAdamOptions options;
  bool lazy = true;
  std::vector<double> weight, m, v;
  std::vector<int64_t> count = std::vector<int64_t>(kSlots, 0);

  void step(const std::vector<int64_t>& slots, const std::vector<double>& grad) {
    std::vector<double> dense(weight.size(), 0.0);
    std::vector<bool> moves(kSlots, !lazy);
    for (size_t i = 0; i < slots.size(); ++i) {
      moves[static_cast<size_t>(slots[i])] = true;
      for (size_t c = 0; c < kWidth; ++c) dense[static_cast<size_t>(slots[i]) * kWidth + c] = grad[i * kWidth + c];
    }
    for (size_t slot = 0; slot < kSlots; ++slot) {
      if (!moves[slot]) continue;
      const auto n = static_cast<double>(++count[slot]);
      for (size_t i = slot * kWidth; i < (slot + 1) * kWidth; ++i) {
        const double g = dense[i] * kGradScale;
        m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
        v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
        const double m_hat = m[i] / (1 - std::pow(options.beta1, n)), v_hat = v[i] / (1 - std::pow(options.beta2, n));
        weight[i] -= kRate * m_hat / (std::sqrt(v_hat) + options.eps);
      }
    }
  }
};

struct RowUpdateTest : test::CpuFixture {
  RowAdamOptions options{.lr = kRate / kLrRatio, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-20};

  struct Table {
    Tensor weight, count;
    RowAdamState state;
  };
  template <class T>
  Table make_table() {
    return {test::random_tensor<T>(arena, 1, {kSlots, kWidth}),
            test::constant_tensor<int32_t>(arena, 0, {kSlots}),
            {.m = test::constant_tensor(arena, T(0), {kSlots, kWidth}),
             .v = test::constant_tensor(arena, T(0), {kSlots, kWidth})}};
  }
  Tensor control_at(int64_t step) {
    return test::control_tensor(arena, {.grad_scale = kGradScale, .num_updates = step, .lr_ratio = kLrRatio});
  }
  // One update of `table`: lazy where step is 0, else dense.
  template <class T>
  void update(const Table& table, const std::vector<int64_t>& slots, const std::vector<double>& grad, int64_t step) {
    Arena::Scope scope(arena);
    const int64_t m = std::ssize(slots);
    const Tensor index = test::tensor_of<int64_t>(arena, slots, {m});
    const Tensor values = test::tensor_of<T>(arena, std::vector<T>(grad.begin(), grad.end()), {m, kWidth});
    const Tensor control = control_at(step);
    if (step == 0)
      row_update_adam_lazy(stream, control, index, values, options, table.weight, table.state, table.count);
    else
      row_update_adam_dense(stream, control, index, values, options, table.weight, table.state);
  }

  // 300 steps over rows of very different popularity; slot 10 is touched in step 1 alone, slot 9 never.
  template <class T>
  void expect_oracle(bool lazy, double weight_bound, double state_bound) {
    const Table table = make_table<T>();
    const auto values = host_span<T>(table.weight);
    Oracle oracle{.options = options,
                  .lazy = lazy,
                  .weight = {values.begin(), values.end()},
                  .m = std::vector<double>(kSlots * kWidth),
                  .v = std::vector<double>(kSlots * kWidth)};
    const std::vector<double> start = oracle.weight;
    for (int64_t step = 1; step <= 300; ++step) {
      std::vector<int64_t> slots;
      std::vector<double> grad;
      for (int64_t slot = kSlots - 1; slot >= 0; --slot) {  // in descending order: any order will do
        if (slot == 9 || (slot == 10 && step > 1) || (slot < 9 && step % (slot + 1) != 0)) continue;
        slots.push_back(slot);
        for (uint64_t c = 0; c < kWidth; ++c) {
          grad.push_back(
              normal(7, RandomDomain::kSampling, 1, static_cast<uint64_t>(step * kSlots + slot) * kWidth + c));
        }
      }
      update<T>(table, slots, grad, lazy ? 0 : step);
      oracle.step(slots, grad);
    }
    double error = 0, moved = 0, state_error = 0;
    for (size_t i = 0; i < start.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      error = std::max(error, std::abs(test::element(table.weight, at) - oracle.weight[i]));
      moved = std::max(moved, std::abs(oracle.weight[i] - start[i]));
      state_error = std::max(state_error, std::abs(test::element(table.state.m, at) - oracle.m[i]));
      state_error = std::max(state_error, std::abs(test::element(table.state.v, at) - oracle.v[i]));
    }
    EXPECT_LT(error, weight_bound * moved);
    EXPECT_LT(state_error, state_bound);
    for (size_t slot = 0; lazy && slot < kSlots; ++slot) {
      EXPECT_EQ(host_span<int32_t>(table.count)[slot], oracle.count[slot]);
    }
  }
};

TEST_F(RowUpdateTest, AdamMatchesTheOracleOverManySteps) {
  for (const bool lazy : {true, false}) {
    expect_oracle<double>(lazy, 1e-13, 1e-15);
    expect_oracle<float>(lazy, 1e-5, 1e-7);
  }
}

TEST_F(RowUpdateTest, RowsHitAfterALongPauseMatchTheOracle) {
  const std::vector<double> grad(kWidth, 0.5), later(kWidth, -2.0);
  for (const bool lazy : {true, false}) {
    for (const int64_t pause : {1, 2, 17, 300, 5000}) {
      const Table table = make_table<double>();
      const auto values = host_span<double>(table.weight);
      Oracle oracle{.options = options,
                    .lazy = lazy,
                    .weight = {values.begin(), values.end()},
                    .m = std::vector<double>(kSlots * kWidth),
                    .v = std::vector<double>(kSlots * kWidth)};
      for (int64_t step = 1; step <= pause + 2; ++step) {
        const int64_t slot = step == 1 || step == pause + 2 ? 3 : 0;
        const auto& used = step == pause + 2 ? later : grad;
        update<double>(table, {slot}, used, lazy ? 0 : step);
        oracle.step({slot}, used);
      }
      for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], oracle.weight[i], 1e-10) << pause;
    }
  }
}

TEST_F(RowUpdateTest, UntouchedRowsKeepEveryBitUnderLazyAdam) {
  const Table table = make_table<float>();
  update<float>(table, {4, 2}, std::vector<double>(2 * kWidth, 1.0), 0);
  const Table before{test::clone(arena, table.weight),
                     test::clone(arena, table.count),
                     {.m = test::clone(arena, table.state.m), .v = test::clone(arena, table.state.v)}};
  for (int step = 0; step < 17; ++step) update<float>(table, {2}, std::vector<double>(kWidth, 1.0), 0);
  for (int64_t slot = 0; slot < kSlots; ++slot) {
    const auto same = [&](const Tensor& now, const Tensor& then) {
      return test::same_bits(now.rows(slot, 1), then.rows(slot, 1));
    };
    EXPECT_EQ(same(table.weight, before.weight), slot != 2) << slot;
    EXPECT_EQ(same(table.state.m, before.state.m), slot != 2) << slot;
    EXPECT_EQ(same(table.state.v, before.state.v), slot != 2) << slot;
    EXPECT_EQ(same(table.count, before.count), slot != 2) << slot;
  }
}

// In units of lr: the first touch moves a row by 1 whenever it comes, because the count is the row's own. With a global
// count it would be (1 - beta1) / sqrt(1 - beta2) = 3.16 or 0.447 late in training.
TEST_F(RowUpdateTest, FirstTouchMovesARowByTheLearningRate) {
  for (const double beta2 : {0.95, 0.999}) {
    options.beta2 = beta2;
    for (const int num_untouched : {1, 2, 17, 300, 5000}) {
      const Table table = make_table<double>();
      for (int step = 0; step < num_untouched; ++step) update<double>(table, {0}, std::vector<double>(kWidth, 1.0), 0);
      const double before = test::element(table.weight, 3 * kWidth);
      update<double>(table, {3}, std::vector<double>(kWidth, 1e-3), 0);
      EXPECT_NEAR((before - test::element(table.weight, 3 * kWidth)) / kRate, 1.0, 1e-12);
    }
  }
}

// Dense Adam late in training: the touch itself moves a row by (1 - beta1) / sqrt(1 - beta2), and the momentum of that
// one touch carries it to 1 / (1 - beta1 / sqrt(beta2)) times as far: 31.8 and 5.84.
TEST_F(RowUpdateTest, DenseAdamCarriesARowOnAfterItsLastTouch) {
  for (const auto& [beta2, at_once, at_last] : {std::tuple{0.999, 3.16228, 31.75}, {0.95, 0.44721, 5.837}}) {
    options.beta2 = beta2;
    const Table table = make_table<double>();
    const double before = test::element(table.weight, 3 * kWidth);
    const auto displacement = [&] { return (before - test::element(table.weight, 3 * kWidth)) / kRate; };
    constexpr int64_t kLate = 100000;
    update<double>(table, {3}, std::vector<double>(kWidth, 1e-3), kLate);
    EXPECT_NEAR(displacement(), at_once, 1e-4);
    for (int64_t step = 1; step <= 400; ++step) update<double>(table, {}, {}, kLate + step);
    EXPECT_NEAR(displacement(), at_last, 2e-3 * at_last);
  }
}

TEST_F(RowUpdateTest, ZeroGradientOfATouchedRowStillCounts) {
  const Table table = make_table<float>();
  const Tensor before = test::clone(arena, table.weight);
  update<float>(table, {1}, std::vector<double>(kWidth, 0.0), 0);
  EXPECT_EQ(host_span<int32_t>(table.count)[1], 1);
  EXPECT_TRUE(test::same_bits(table.weight, before));  // 0 / (0 + eps)
  host_span<int32_t>(table.count)[1] = INT32_MAX;
  update<float>(table, {1}, std::vector<double>(kWidth, 1.0), 0);
  EXPECT_EQ(host_span<int32_t>(table.count)[1], INT32_MAX);
}

TEST_F(RowUpdateTest, SgdMovesTouchedRowsAlone) {
  const Tensor weight = test::random_tensor<float>(arena, 1, {kSlots, kWidth}), before = test::clone(arena, weight);
  const Tensor grad = test::random_tensor<float>(arena, 2, {2, kWidth});
  row_update_sgd(stream, control_at(1), test::tensor_of<int64_t>(arena, {7, 3}, {2}), grad, 1.0, weight);
  for (int64_t i = 0; i < weight.numel(); ++i) {
    const int64_t slot = i / kWidth, from = slot == 7 ? 0 : slot == 3 ? kWidth : -1;
    const float step = from < 0 ? 0.0f : 0.125f * static_cast<float>(test::element(grad, from + i % kWidth));
    EXPECT_FLOAT_EQ(host_span<float>(weight)[static_cast<size_t>(i)],
                    host_span<float>(before)[static_cast<size_t>(i)] - step);
    EXPECT_EQ(test::same_bits(weight.rows(slot, 1), before.rows(slot, 1)), from < 0);
  }
}

TEST_F(RowUpdateTest, ARefusedStepChangesNoBit) {
  const Table table = make_table<float>();
  update<float>(table, {4, 2}, std::vector<double>(2 * kWidth, 1.0), 0);
  const Tensor weight = test::clone(arena, table.weight), m = test::clone(arena, table.state.m),
               v = test::clone(arena, table.state.v), count = test::clone(arena, table.count);
  const Tensor refused = test::control_tensor(arena, {.apply = false});
  const Tensor slots = test::tensor_of<int64_t>(arena, {2}, {1});
  const Tensor bad = test::constant_tensor(arena, std::numeric_limits<float>::quiet_NaN(), {1, kWidth});
  row_update_sgd(stream, refused, slots, bad, 1.0, table.weight);
  row_update_adam_lazy(stream, refused, slots, bad, options, table.weight, table.state, table.count);
  row_update_adam_dense(stream, refused, slots, bad, options, table.weight, table.state);
  EXPECT_TRUE(test::same_bits(table.weight, weight));
  EXPECT_TRUE(test::same_bits(table.state.m, m));
  EXPECT_TRUE(test::same_bits(table.state.v, v));
  EXPECT_TRUE(test::same_bits(table.count, count));
}

TEST_F(RowUpdateTest, EmptyTablesAndNoTouchedRowsWork) {
  const Table table = make_table<float>();
  const Tensor before = test::clone(arena, table.weight);
  update<float>(table, {}, {}, 0);
  update<float>(table, {}, {}, 1);
  EXPECT_TRUE(test::same_bits(table.weight, before));
  const Tensor none = arena.take("none", DType::kFloat32, {0, kWidth}), slots = arena.take("slots", DType::kInt64, {0});
  row_update_sgd(stream, control_at(1), slots, none, 1.0, none);
  row_update_adam_dense(stream, control_at(1), slots, none, options, none, {.m = none, .v = none});
}

TEST_F(RowUpdateTest, RefusesWhatDoesNotFit) {
  const Table table = make_table<float>();
  const Tensor slots = test::tensor_of<int64_t>(arena, {0, 1}, {2});
  const Tensor grad = arena.take("grad", DType::kFloat32, {3, kWidth});
  std::string message = test::error_of([&] { row_update_sgd(stream, control_at(1), slots, grad, 1, table.weight); });
  EXPECT_NE(message.find("grad: got float32 [3, 5], wanted float32 [2, 5]"), std::string::npos) << message;
  const Tensor short_control = control_at(1).rows(0, 3);
  message = test::error_of([&] { row_update_sgd(stream, short_control, slots, grad.rows(0, 2), 1, table.weight); });
  EXPECT_NE(message.find("control: got float64 [3], wanted float64 [4]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
