#include "kernels/router.h"

#include <limits>

#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RouterTest : test::CpuFixture {
  static constexpr int64_t kRows = 9, kExperts = 7;
  RouterOptions options{.top_k = 3, .scale = 2.5};

  struct Choice {
    Tensor expert, weight, load;
  };
  Choice forward(const Tensor& logits, const Tensor& bias) {
    const int64_t num_rows = logits.size(0), num_experts = logits.size(1);
    const Choice out{arena.take("expert", DType::kInt32, {num_rows, options.top_k}),
                     arena.take("weight", logits.dtype, {num_rows, options.top_k}),
                     test::constant_tensor<int64_t>(arena, 0, {num_experts})};
    router_forward(stream, logits, bias, options, out.expert, out.weight, out.load);
    return out;
  }
  Tensor backward(const Tensor& logits, const Tensor& expert, const Tensor& dweight) {
    const Tensor dlogits = arena.take("dlogits", logits.dtype, {logits.size(0), logits.size(1)});
    router_backward(stream, logits, expert, dweight, options, dlogits);
    return dlogits;
  }
};

TEST_F(RouterTest, ChoosesByAffinityAndBiasAndWeighsByAffinityAlone) {
  const Tensor logits = test::random_tensor<double>(arena, 1, {kRows, kExperts});
  const Tensor bias = test::random_tensor<double>(arena, 2, {kExperts}, 0.2);
  const Choice got = forward(logits, bias);
  std::vector<int64_t> load(kExperts, 0);
  for (int64_t row = 0; row < kRows; ++row) {
    std::vector<std::pair<double, int>> scores;
    const auto affinity = [&](int e) { return 1 / (1 + std::exp(-test::element(logits, row * kExperts + e))); };
    for (int e = 0; e < kExperts; ++e) scores.emplace_back(-affinity(e) - test::element(bias, e), e);
    std::sort(scores.begin(), scores.end());
    double sum = 0;
    for (size_t i = 0; i < 3; ++i) sum += affinity(scores[i].second);
    for (size_t i = 0; i < 3; ++i) {
      const size_t at = static_cast<size_t>(row) * 3 + i;
      EXPECT_EQ(host_span<int32_t>(got.expert)[at], scores[i].second);
      EXPECT_NEAR(host_span<double>(got.weight)[at], 2.5 * affinity(scores[i].second) / sum, 1e-14);
      ++load[static_cast<size_t>(scores[i].second)];
    }
  }
  EXPECT_TRUE(test::same_bits(got.load, test::tensor_of<int64_t>(arena, load, {kExperts})));
}

TEST_F(RouterTest, TiesGoToTheLowerNumberAndLoadIsAddedTo) {
  const Tensor logits = test::constant_tensor(arena, 0.5f, {2, kExperts});
  const Tensor bias = test::tensor_of<float>(arena, {0, 0, 0, 0, 1, 0, 0}, {kExperts});
  const Choice got = forward(logits, bias);
  router_forward(stream, logits, bias, options, got.expert, got.weight, got.load);
  EXPECT_TRUE(test::same_bits(got.expert, test::tensor_of<int32_t>(arena, {4, 0, 1, 4, 0, 1}, {2, 3})));
  EXPECT_TRUE(test::same_bits(got.load, test::tensor_of<int64_t>(arena, {4, 4, 0, 0, 4, 0, 0}, {kExperts})));
}

TEST_F(RouterTest, NumbersStayDistinctUnderNanAndWeightsFiniteUnderUnderflow) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor bias = test::constant_tensor(arena, 0.0f, {kExperts});
  const auto expert = host_span<int32_t>(forward(test::constant_tensor(arena, nan, {1, kExperts}), bias).expert);
  EXPECT_EQ((std::vector<int32_t>{expert.begin(), expert.end()}), (std::vector<int32_t>{0, 1, 2}));
  const Choice low = forward(test::constant_tensor(arena, -200.0f, {1, kExperts}), bias);
  for (const float weight : host_span<float>(low.weight)) EXPECT_EQ(weight, 0.0f);
}

TEST_F(RouterTest, BackwardMatchesCentralDifferences) {
  const Tensor bias = test::random_tensor<double>(arena, 2, {kExperts});
  for (const int64_t num_rows : {0, 1, 9}) {
    for (const int64_t top_k : {int64_t{1}, int64_t{3}, kExperts}) {
      options.top_k = top_k;
      const Tensor logits = test::random_tensor<double>(arena, 1, {num_rows, kExperts}, 2.0);
      const Tensor dweight = test::random_tensor<double>(arena, 3, {num_rows, top_k});
      const Tensor expert = forward(logits, bias).expert;
      const auto loss = [&] {
        Arena::Scope scope(arena);
        const Choice moved = forward(logits, bias);
        EXPECT_TRUE(test::same_bits(moved.expert, expert)) << "the step crossed a choice; take another seed";
        return test::dot(dweight, moved.weight);
      };
      const Tensor want = test::numeric_gradient(arena, logits, loss), got = backward(logits, expert, dweight);
      // With one expert the weight is constant and both gradients are 0 but for rounding.
      const bool constant = top_k == 1;
      EXPECT_LT(constant ? test::dot(got, got) + test::dot(want, want) : relative_error(got, want), 1e-9) << top_k;
    }
  }
}

TEST_F(RouterTest, FloatMatchesDoubleAndBackwardRepeatsItsBits) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {kRows, kExperts}, 2.0);
  const Tensor bias = test::random_tensor<float>(arena, 2, {kExperts}, 0.1);
  const Tensor dweight = test::random_tensor<float>(arena, 3, {kRows, options.top_k});
  const Tensor wide = test::to_double(arena, logits);
  const Choice got = forward(logits, bias), want = forward(wide, test::to_double(arena, bias));
  EXPECT_TRUE(test::same_bits(got.expert, want.expert));
  EXPECT_LT(relative_error(got.weight, want.weight), 1e-6);
  const Tensor dlogits = backward(logits, got.expert, dweight);
  EXPECT_TRUE(test::same_bits(dlogits, backward(logits, got.expert, dweight)));
  EXPECT_LT(relative_error(dlogits, backward(wide, got.expert, test::to_double(arena, dweight))), 1e-5);
}

TEST_F(RouterTest, BiasMovesByExactlyTheRateTowardBalance) {
  const Tensor bias = test::tensor_of<double>(arena, {1, 1, 1, 1, 0.5, 1.5, 1.25, 1.5}, {2, 4});
  const Tensor load = test::tensor_of<int64_t>(arena, {7, 4, 5, 4, 1, 0, 0, 0}, {2, 4});  // means 5 and 1/4
  router_update_bias(stream, test::control_tensor(arena, {.apply = false}), load, 0.25, bias);
  EXPECT_TRUE(test::same_bits(bias, test::tensor_of<double>(arena, {1, 1, 1, 1, 0.5, 1.5, 1.25, 1.5}, {2, 4})));
  router_update_bias(stream, test::control_tensor(arena, {}), load, 0.25, bias);
  EXPECT_TRUE(
      test::same_bits(bias, test::tensor_of<double>(arena, {0.75, 1.25, 1, 1.25, 0.25, 1.75, 1.5, 1.75}, {2, 4})));
}

TEST_F(RouterTest, RefusesWhatDoesNotFit) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {kRows, kExperts});
  options.top_k = kExperts + 1;
  const std::string message = test::error_of([&] { forward(logits, logits.rows(0, 1).reshape({kExperts})); });
  EXPECT_NE(message.find("top_k 8; wanted 1 to the number of experts, 7"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
