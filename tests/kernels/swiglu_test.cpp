#include "kernels/swiglu.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct SwigluTest : test::CpuFixture {
  static constexpr int64_t kRows = 5, kWidth = 37;

  Tensor forward(const Tensor& gate_up) {
    const Tensor y = arena.take("y", gate_up.dtype, {gate_up.size(0), gate_up.size(1) / 2});
    swiglu_forward(stream, gate_up, y);
    return y;
  }
  Tensor backward(const Tensor& gate_up, const Tensor& dy) {
    const Tensor dgate_up = arena.take("dgate_up", gate_up.dtype, {gate_up.size(0), gate_up.size(1)});
    swiglu_backward(stream, gate_up, dy, dgate_up);
    return dgate_up;
  }
};

TEST_F(SwigluTest, ForwardMatchesTheFormula) {
  const Tensor gate_up = test::random_tensor<double>(arena, 1, {kRows, 2 * kWidth}, 3.0);
  const Tensor y = forward(gate_up);
  for (int64_t i = 0; i < kRows * kWidth; ++i) {
    const int64_t at = i / kWidth * 2 * kWidth + i % kWidth;
    const double gate = test::element(gate_up, at), up = test::element(gate_up, at + kWidth);
    EXPECT_NEAR(test::element(y, i), gate / (1 + std::exp(-gate)) * up, 1e-13);
  }
}

TEST_F(SwigluTest, BackwardMatchesCentralDifferences) {
  for (const int64_t num_rows : {0, 1, 5}) {
    const Tensor gate_up = test::random_tensor<double>(arena, 1, {num_rows, 2 * kWidth}, 2.0);
    const Tensor dy = test::random_tensor<double>(arena, 2, {num_rows, kWidth});
    const auto loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(dy, forward(gate_up));
    };
    EXPECT_LT(relative_error(backward(gate_up, dy), test::numeric_gradient(arena, gate_up, loss)), 1e-9);
  }
}

TEST_F(SwigluTest, BackwardMayOverwriteItsInputAndRepeatsItsBits) {
  const Tensor gate_up = test::random_tensor<float>(arena, 1, {kRows, 2 * kWidth});
  const Tensor dy = test::random_tensor<float>(arena, 2, {kRows, kWidth});
  const Tensor first = backward(gate_up, dy);
  EXPECT_TRUE(test::same_bits(first, backward(gate_up, dy)));
  swiglu_backward(stream, gate_up, dy, gate_up);
  EXPECT_TRUE(test::same_bits(first, gate_up));
}

TEST_F(SwigluTest, FloatMatchesDouble) {
  const Tensor gate_up = test::random_tensor<float>(arena, 1, {kRows, 2 * kWidth}, 4.0);
  const Tensor dy = test::random_tensor<float>(arena, 2, {kRows, kWidth});
  const Tensor wide = test::to_double(arena, gate_up);
  EXPECT_LT(relative_error(forward(gate_up), forward(wide)), 1e-6);
  EXPECT_LT(relative_error(backward(gate_up, dy), backward(wide, test::to_double(arena, dy))), 1e-6);
}

// Rows of three tokens with two choices each.
struct WeightedSwigluTest : SwigluTest {
  static constexpr int64_t kTopK = 2;
  const Tensor choice = test::tensor_of<int64_t>(arena, {3, 0, 5, 1, 2, 4}, {6});

  Tensor weighted(const Tensor& gate_up, const Tensor& weight) {
    const Tensor y = arena.take("y", gate_up.dtype, {gate_up.size(0), gate_up.size(1) / 2});
    weighted_swiglu_forward(stream, gate_up, weight, choice.rows(0, gate_up.size(0)), y);
    return y;
  }
  struct Gradients {
    Tensor dgate_up, dweight;
  };
  Gradients weighted_backward(const Tensor& gate_up, const Tensor& weight, const Tensor& dy) {
    const Gradients d{arena.take("dgate_up", gate_up.dtype, {gate_up.size(0), gate_up.size(1)}),
                      arena.take("dweight", weight.dtype, {weight.size(0), weight.size(1)})};
    weighted_swiglu_backward(stream, gate_up, weight, choice.rows(0, gate_up.size(0)), dy, d.dgate_up, d.dweight);
    return d;
  }
};

TEST_F(WeightedSwigluTest, IsTheUnweightedFormTimesTheWeightOfTheChoice) {
  const Tensor gate_up = test::random_tensor<double>(arena, 1, {6, 2 * kWidth}, 2.0);
  const Tensor weight = test::random_tensor<double>(arena, 2, {3, kTopK});
  const Tensor y = weighted(gate_up, weight), plain = forward(gate_up);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t at = host_span<int64_t>(choice)[static_cast<size_t>(i / kWidth)];
    EXPECT_NEAR(test::element(y, i), test::element(plain, i) * test::element(weight, at), 1e-14);
  }
}

TEST_F(WeightedSwigluTest, BackwardMatchesCentralDifferences) {
  for (const int64_t num_tokens : {0, 3}) {
    const Tensor gate_up = test::random_tensor<double>(arena, 1, {num_tokens * kTopK, 2 * kWidth}, 2.0);
    const Tensor weight = test::random_tensor<double>(arena, 2, {num_tokens, kTopK});
    const Tensor dy = test::random_tensor<double>(arena, 3, {num_tokens * kTopK, kWidth});
    const auto loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(dy, weighted(gate_up, weight));
    };
    const Gradients d = weighted_backward(gate_up, weight, dy);
    EXPECT_LT(relative_error(d.dgate_up, test::numeric_gradient(arena, gate_up, loss)), 1e-9);
    EXPECT_LT(relative_error(d.dweight, test::numeric_gradient(arena, weight, loss)), 1e-9);
  }
}

TEST_F(WeightedSwigluTest, FloatMatchesDouble) {
  const Tensor gate_up = test::random_tensor<float>(arena, 1, {6, 2 * kWidth}, 2.0);
  const Tensor weight = test::random_tensor<float>(arena, 2, {3, kTopK});
  const Tensor dy = test::random_tensor<float>(arena, 3, {6, kWidth});
  const Tensor wide = test::to_double(arena, gate_up), wide_weight = test::to_double(arena, weight);
  EXPECT_LT(relative_error(weighted(gate_up, weight), weighted(wide, wide_weight)), 1e-6);
  const Gradients got = weighted_backward(gate_up, weight, dy);
  const Gradients want = weighted_backward(wide, wide_weight, test::to_double(arena, dy));
  EXPECT_LT(relative_error(got.dgate_up, want.dgate_up), 1e-6);
  EXPECT_LT(relative_error(got.dweight, want.dweight), 1e-6);
}

TEST_F(WeightedSwigluTest, RefusesAnotherNumberOfWeights) {
  const Tensor gate_up = arena.take("x", DType::kFloat32, {6, 8}), weight = arena.take("w", DType::kFloat32, {2, 2});
  const std::string message = test::error_of([&] { weighted(gate_up, weight); });
  EXPECT_NE(message.find("weight has 4 elements for 6 rows"), std::string::npos) << message;
}

TEST_F(SwigluTest, RefusesTensorsThatDoNotFit) {
  const Tensor gate_up = arena.take("x", DType::kFloat32, {2, 9}), y = arena.take("y", DType::kFloat32, {2, 4});
  const std::string message = test::error_of([&] { swiglu_forward(stream, gate_up, y); });
  EXPECT_NE(message.find("gate_up: got float32 [2, 9], wanted float32 [2, 8]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
