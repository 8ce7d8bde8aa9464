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

TEST_F(SwigluTest, RefusesTensorsThatDoNotFit) {
  const Tensor gate_up = arena.take("x", DType::kFloat32, {2, 9}), y = arena.take("y", DType::kFloat32, {2, 4});
  const std::string message = test::error_of([&] { swiglu_forward(stream, gate_up, y); });
  EXPECT_NE(message.find("gate_up: got float32 [2, 9], wanted float32 [2, 8]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
