#include "kernels/adamw.h"

#include <limits>
#include <numeric>

#include "kernels/convert.h"
#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct AdamWTest : test::CpuFixture {
  static constexpr AdamWOptions kOptions{
      .learning_rate = 2e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};

  struct Shard {
    Tensor weight, m, v;
  };
  // M: of the moments.
  template <class T, class M = T>
  Shard make_shard(int64_t count) {
    return {test::random_tensor<T>(arena, 1, {count}), test::constant_tensor(arena, M(0.0f), {count}),
            test::constant_tensor(arena, M(0.0f), {count})};
  }
  template <class T>
  Tensor gradient(int64_t step, int64_t count) {
    return test::random_tensor<T>(arena, 100 + static_cast<uint64_t>(step), {count}, 0.1);
  }
  Tensor to_double(const Tensor& values) {
    if (values.dtype != DType::kBFloat16) return test::to_double(arena, values);
    const Tensor wide = arena.take("wide", DType::kFloat32, {values.numel()});
    convert(stream, values, wide);
    return test::to_double(arena, wide);
  }
  double sum_of(const Tensor& values) {
    const auto all = host_span<double>(to_double(values));
    return std::accumulate(all.begin(), all.end(), 0.0);
  }
  Tensor moved(const Tensor& start, const Tensor& end) {
    const Tensor difference = to_double(end);
    for (int64_t i = 0; i < end.numel(); ++i)
      host_span<double>(difference)[static_cast<size_t>(i)] -= test::element(start, i);
    return difference;
  }
  Tensor control_at(int64_t step) {
    return test::control_tensor(arena, {.grad_scale = 0.25, .num_updates = step, .lr_ratio = 0.5});
  }
};

TEST_F(AdamWTest, MatchesTheFormulaOverManySteps) {
  for (const int64_t count : {0, 1, 19}) {
    const Shard shard = make_shard<double>(count);
    std::vector<double> weight, m(static_cast<size_t>(count)), v(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) weight.push_back(test::element(shard.weight, i));
    for (int64_t step = 1; step <= 20; ++step) {
      const Tensor grad = gradient<double>(step, count);
      adamw_update(stream, kOptions, control_at(step), shard.weight, grad, shard.m, shard.v);
      for (size_t i = 0; i < weight.size(); ++i) {
        const double g = 0.25 * test::element(grad, static_cast<int64_t>(i));
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.95 * v[i] + 0.05 * g * g;
        const double mhat = m[i] / (1 - std::pow(0.9, step)), vhat = v[i] / (1 - std::pow(0.95, step));
        weight[i] -= 1e-2 * (0.1 * weight[i] + mhat / (std::sqrt(vhat) + 1e-8));
      }
    }
    EXPECT_LT(relative_error(shard.weight, test::tensor_of(arena, weight, {count})), 1e-13);
    EXPECT_LT(relative_error(shard.m, test::tensor_of(arena, m, {count})), 1e-13);
    EXPECT_LT(relative_error(shard.v, test::tensor_of(arena, v, {count})), 1e-13);
  }
}

TEST_F(AdamWTest, FloatMatchesDouble) {
  constexpr int64_t kCount = 1001;
  const Shard shard = make_shard<float>(kCount);
  const Shard want{test::to_double(arena, shard.weight), test::to_double(arena, shard.m),
                   test::to_double(arena, shard.v)};
  const Tensor start = test::clone(arena, want.weight);
  for (int64_t step = 1; step <= 100; ++step) {
    Arena::Scope scope(arena);
    const Tensor grad = gradient<float>(step, kCount);
    adamw_update(stream, kOptions, control_at(step), shard.weight, grad, shard.m, shard.v);
    adamw_update(stream, kOptions, control_at(step), want.weight, test::to_double(arena, grad), want.m, want.v);
  }
  EXPECT_LT(relative_error(shard.weight, want.weight), 1e-6);
  EXPECT_LT(relative_error(shard.m, want.m), 1e-6);
  EXPECT_LT(relative_error(shard.v, want.v), 1e-6);
  EXPECT_GT(relative_error(start, want.weight), 1e-2);  // the weights did move
}

TEST_F(AdamWTest, NarrowMomentsFollowTheDoubleForm) {
  constexpr int64_t kCount = 10'007;
  const Shard narrow = make_shard<float, bfloat16>(kCount), half = make_shard<double, bfloat16>(kCount),
              wide = make_shard<double>(kCount);
  const Tensor start = to_double(wide.weight);
  for (int64_t step = 1; step <= 40; ++step) {
    Arena::Scope scope(arena);
    const Tensor grad = gradient<float>(step, kCount), same = to_double(grad);
    adamw_update(stream, kOptions, control_at(step), narrow.weight, grad, narrow.m, narrow.v);
    adamw_update(stream, kOptions, control_at(step), half.weight, same, half.m, half.v);
    adamw_update(stream, kOptions, control_at(step), wide.weight, same, wide.m, wide.v);
  }
  for (const Shard& got : {narrow, half}) {
    EXPECT_LT(relative_error(to_double(got.m), wide.m), 1e-2);
    EXPECT_LT(relative_error(to_double(got.v), wide.v), 1e-2);
    EXPECT_GT(relative_error(to_double(got.v), wide.v), 1e-4);  // they are narrow
    EXPECT_NEAR(sum_of(got.v) / sum_of(wide.v), 1, 3e-4);       // and right in the mean
    EXPECT_LT(relative_error(moved(start, got.weight), moved(start, wide.weight)), 1e-2);
  }
}

// To the nearest bfloat16, 0.999 of a number is the number.
TEST_F(AdamWTest, NarrowMomentsDecayBySmallSteps) {
  constexpr int64_t kCount = 10'007, kSteps = 1000;
  const Shard shard = make_shard<float, bfloat16>(kCount);
  for (bfloat16& v : host_span<bfloat16>(shard.v)) v = bfloat16(1.0f);
  const Tensor m = test::random_tensor<float>(arena, 2, {kCount});
  convert(stream, m, shard.m);
  AdamWOptions options = kOptions;
  options.beta1 = options.beta2 = 0.999;
  for (int64_t step = 1; step <= kSteps; ++step) {
    Arena::Scope scope(arena);
    const Tensor tiny = test::random_tensor<float>(arena, 100 + static_cast<uint64_t>(step), {kCount}, 1e-6);
    adamw_update(stream, options, control_at(step), shard.weight, tiny, shard.m, shard.v);
  }
  const double left = std::pow(0.999, kSteps);
  EXPECT_NEAR(sum_of(shard.v) / kCount / left, 1, 5e-3);
  EXPECT_NEAR(test::dot(to_double(shard.m), m) / test::dot(m, m) / left, 1, 5e-3);
}

TEST_F(AdamWTest, CuttingTheShardChangesNoBit) {
  constexpr int64_t kCount = 77;
  const auto expect_same = [&](const Shard& whole, const Shard& cut) {
    for (int64_t step = 1; step <= 3; ++step) {
      const Tensor grad = gradient<float>(step, kCount);
      adamw_update(stream, kOptions, control_at(step), whole.weight, grad, whole.m, whole.v);
      int64_t begin = 0;
      for (const int64_t count : {1, 0, 30, 3, 43}) {
        adamw_update(stream, kOptions, control_at(step), cut.weight.rows(begin, count), grad.rows(begin, count),
                     cut.m.rows(begin, count), cut.v.rows(begin, count));
        begin += count;
      }
    }
    EXPECT_TRUE(test::same_bits(whole.weight, cut.weight));
    EXPECT_TRUE(test::same_bits(whole.m, cut.m));
    EXPECT_TRUE(test::same_bits(whole.v, cut.v));
  };
  expect_same(make_shard<float>(kCount), make_shard<float>(kCount));
  expect_same(make_shard<float, bfloat16>(kCount), make_shard<float, bfloat16>(kCount));
}

TEST_F(AdamWTest, ARefusedStepChangesNoBit) {
  constexpr int64_t kCount = 9;
  for (const Shard& shard : {make_shard<float>(kCount), make_shard<float, bfloat16>(kCount)}) {
    const Tensor rounded = arena.take("rounded", DType::kBFloat16, {kCount});
    adamw_update(stream, kOptions, control_at(1), shard.weight, gradient<float>(1, kCount), shard.m, shard.v, rounded);
    const Tensor weight = test::clone(arena, shard.weight), m = test::clone(arena, shard.m),
                 v = test::clone(arena, shard.v), kept = test::clone(arena, rounded);
    const Tensor bad = test::constant_tensor(arena, std::numeric_limits<float>::quiet_NaN(), {kCount});
    const Tensor refused = test::control_tensor(arena, {.apply = false});
    adamw_update(stream, kOptions, refused, shard.weight, bad, shard.m, shard.v, rounded);
    EXPECT_TRUE(test::same_bits(shard.weight, weight));
    EXPECT_TRUE(test::same_bits(shard.m, m));
    EXPECT_TRUE(test::same_bits(shard.v, v));
    EXPECT_TRUE(test::same_bits(rounded, kept));
  }
}

TEST_F(AdamWTest, TheRoundedCopyIsThatOfTheNewWeight) {
  constexpr int64_t kCount = 37;
  const Shard plain = make_shard<float>(kCount), master = make_shard<float>(kCount);
  const Tensor rounded = arena.take("rounded", DType::kBFloat16, {kCount});
  for (int64_t step = 1; step <= 3; ++step) {
    const Tensor grad = gradient<float>(step, kCount);
    adamw_update(stream, kOptions, control_at(step), plain.weight, grad, plain.m, plain.v);
    adamw_update(stream, kOptions, control_at(step), master.weight, grad, master.m, master.v, rounded);
  }
  EXPECT_TRUE(test::same_bits(plain.weight, master.weight));
  for (int64_t i = 0; i < kCount; ++i) {
    const float weight = host_span<float>(master.weight)[static_cast<size_t>(i)];
    EXPECT_EQ(host_span<bfloat16>(rounded)[static_cast<size_t>(i)].bits, bfloat16(weight).bits);
  }
}

TEST_F(AdamWTest, AZeroGradientOnlyDecays) {
  const Shard shard = make_shard<float>(5);
  const Tensor start = test::clone(arena, shard.weight);
  AdamWOptions options = kOptions;
  options.eps = 1e-20;
  adamw_update(stream, options, control_at(1), shard.weight, test::constant_tensor(arena, 0.0f, {5}), shard.m, shard.v);
  for (int64_t i = 0; i < 5; ++i) EXPECT_NEAR(test::element(shard.weight, i), 0.999 * test::element(start, i), 1e-7);
  options.weight_decay = 0;
  const Tensor decayed = test::clone(arena, shard.weight);
  adamw_update(stream, options, control_at(1), shard.weight, test::constant_tensor(arena, 0.0f, {5}), shard.m, shard.v);
  EXPECT_TRUE(test::same_bits(shard.weight, decayed));
}

TEST_F(AdamWTest, RefusesWrongArguments) {
  const Shard shard = make_shard<float>(5);
  const Tensor grad = gradient<float>(1, 5), few = gradient<float>(1, 4);
  const Tensor control = control_at(1);
  const auto message = [&](const AdamWOptions& options, const Tensor& gradients) {
    return test::error_of([&] { adamw_update(stream, options, control, shard.weight, gradients, shard.m, shard.v); });
  };
  EXPECT_NE(message(kOptions, few).find("grad: got float32 [4], wanted float32 [5]"), std::string::npos);
  const Tensor narrow = test::constant_tensor(arena, bfloat16(0.0f), {5});
  const std::string of_moments =
      test::error_of([&] { adamw_update(stream, kOptions, control, shard.weight, grad, narrow, shard.v); });
  EXPECT_NE(of_moments.find("m or v: got float32 [5], wanted bfloat16 [5]"), std::string::npos) << of_moments;
  const std::string of_control =
      test::error_of([&] { adamw_update(stream, kOptions, control.rows(0, 3), shard.weight, grad, shard.m, shard.v); });
  EXPECT_NE(of_control.find("control: got float64 [3], wanted float64 [4]"), std::string::npos) << of_control;
  AdamWOptions options = kOptions;
  options.beta2 = 1;
  EXPECT_NE(message(options, grad).find("a beta is 1; wanted at least 0 and below 1"), std::string::npos);
}

}  // namespace
}  // namespace engram
