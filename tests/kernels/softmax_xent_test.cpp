#include "kernels/softmax_xent.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct SoftmaxXentTest : test::CpuFixture {
  static constexpr int64_t kRows = 4, kVocabulary = 131;
  static constexpr double kScale = 0.3;

  // The first and the last token, an ignored row, one in between.
  Tensor targets() { return test::tensor_of<int32_t>(arena, {0, 130, -1, 64}, {4}); }

  struct Outputs {
    Tensor loss, dlogits;
  };
  Outputs run_on(const Tensor& logits, const Tensor& target) {
    const Outputs out{arena.take("loss", logits.dtype, {logits.size(0)}),
                      arena.take("dlogits", logits.dtype, {logits.size(0), logits.size(1)})};
    softmax_xent(stream, logits, target, kScale, out.loss, out.dlogits);
    return out;
  }
};

TEST_F(SoftmaxXentTest, LossMatchesTheFormula) {
  const Tensor logits = test::random_tensor<double>(arena, 1, {kRows, kVocabulary}, 3.0);
  const Outputs out = run_on(logits, targets());
  for (int64_t row = 0; row < kRows; ++row) {
    const int32_t target = host_span<int32_t>(targets())[static_cast<size_t>(row)];
    double sum = 0;
    for (int64_t c = 0; c < kVocabulary; ++c) sum += std::exp(test::element(logits, row * kVocabulary + c));
    const double want = target == -1 ? 0 : std::log(sum) - test::element(logits, row * kVocabulary + target);
    EXPECT_NEAR(test::element(out.loss, row), want, 1e-13);
  }
}

TEST_F(SoftmaxXentTest, GradientMatchesCentralDifferences) {
  const Tensor logits = test::random_tensor<double>(arena, 1, {kRows, kVocabulary}), target = targets();
  const Outputs out = run_on(logits, target);
  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor losses = arena.take("loss", DType::kFloat64, {kRows});
    softmax_xent(stream, logits, target, kScale, losses, {});
    double sum = 0;
    for (int64_t row = 0; row < kRows; ++row) sum += kScale * test::element(losses, row);
    return sum;
  };
  EXPECT_LT(relative_error(out.dlogits, test::numeric_gradient(arena, logits, loss)), 1e-9);
}

TEST_F(SoftmaxXentTest, FloatMatchesDouble) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {kRows, kVocabulary}, 3.0);
  const Outputs out = run_on(logits, targets()), want = run_on(test::to_double(arena, logits), targets());
  EXPECT_LT(relative_error(out.loss, want.loss), 1e-6);
  EXPECT_LT(relative_error(out.dlogits, want.dlogits), 1e-6);
}

TEST_F(SoftmaxXentTest, InPlaceAndLossAloneGiveTheSameBits) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {kRows, kVocabulary});
  const Outputs out = run_on(logits, targets());
  const Tensor loss = arena.take("loss", DType::kFloat32, {kRows});
  softmax_xent(stream, logits, targets(), kScale, loss, {});
  EXPECT_TRUE(test::same_bits(loss, out.loss));
  softmax_xent(stream, logits, targets(), kScale, loss, logits);
  EXPECT_TRUE(test::same_bits(loss, out.loss));
  EXPECT_TRUE(test::same_bits(logits, out.dlogits));
}

TEST_F(SoftmaxXentTest, IgnoredRowsHaveNoLossAndNoGradient) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {kRows, kVocabulary});
  const Outputs out = run_on(logits, targets());
  EXPECT_EQ(test::element(out.loss, 2), 0);
  for (int64_t c = 0; c < kVocabulary; ++c) EXPECT_EQ(test::element(out.dlogits, 2 * kVocabulary + c), 0);
}

TEST_F(SoftmaxXentTest, LargeLogitsDoNotOverflow) {
  const Tensor logits = test::tensor_of<float>(arena, {1e4f, 1e4f, -1e4f}, {1, 3});
  const Outputs out = run_on(logits, test::tensor_of<int32_t>(arena, {0}, {1}));
  EXPECT_NEAR(test::element(out.loss, 0), std::log(2.0), 1e-6);
  EXPECT_NEAR(test::element(out.dlogits, 0), -0.5 * kScale, 1e-7);
  EXPECT_NEAR(test::element(out.dlogits, 1), 0.5 * kScale, 1e-7);
  EXPECT_EQ(test::element(out.dlogits, 2), 0);
}

TEST_F(SoftmaxXentTest, NaNReachesTheLoss) {
  const Tensor logits = test::tensor_of<float>(arena, {1, NAN, 2}, {1, 3});
  EXPECT_TRUE(std::isnan(test::element(run_on(logits, test::tensor_of<int32_t>(arena, {0}, {1})).loss, 0)));
}

TEST_F(SoftmaxXentTest, SizesZeroAndOneWork) {
  run_on(arena.take("logits", DType::kFloat32, {0, 5}), arena.take("targets", DType::kInt32, {0}));
  const Outputs out = run_on(test::constant_tensor(arena, 7.0f, {1, 1}), test::tensor_of<int32_t>(arena, {0}, {1}));
  EXPECT_EQ(test::element(out.loss, 0), 0);
  EXPECT_EQ(test::element(out.dlogits, 0), 0);
}

TEST_F(SoftmaxXentTest, RefusesTargetsOfAnotherLength) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {kRows, kVocabulary});
  const Tensor few = test::tensor_of<int32_t>(arena, {0, 1, 2}, {3});
  const std::string message = test::error_of([&] { run_on(logits, few); });
  EXPECT_NE(message.find("targets: got int32 [3], wanted int32 [4]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
