#include "kernels/bias.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct BiasTest : test::CpuFixture {
  static constexpr int64_t kWidth = 13;

  Tensor forward(const Tensor& x, const Tensor& bias) {
    const Tensor y = arena.take("y", x.dtype, {x.size(0), x.size(1)});
    add_bias_forward(stream, x, bias, y);
    return y;
  }
};

TEST_F(BiasTest, ForwardAddsTheBiasToEveryRow) {
  const Tensor x = test::tensor_of<double>(arena, {1, 2, 3, 4, 5, 6}, {2, 3});
  add_bias_forward(stream, x, test::tensor_of<double>(arena, {10, 20, 30}, {3}), x);
  EXPECT_TRUE(test::same_bits(x, test::tensor_of<double>(arena, {11, 22, 33, 14, 25, 36}, {2, 3})));
}

TEST_F(BiasTest, BackwardMatchesCentralDifferences) {
  for (const int64_t num_rows : {0, 1, 7}) {
    const Tensor x = test::random_tensor<double>(arena, 1, {num_rows, kWidth});
    const Tensor bias = test::random_tensor<double>(arena, 2, {kWidth});
    const Tensor dy = test::random_tensor<double>(arena, 3, {num_rows, kWidth});
    const Tensor dbias = test::constant_tensor(arena, 0.0, {kWidth});
    add_bias_backward(stream, dy, dbias);
    const auto loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(dy, forward(x, bias));
    };
    EXPECT_LT(relative_error(dbias, test::numeric_gradient(arena, bias, loss)), 1e-9);
    EXPECT_LT(relative_error(dy, test::numeric_gradient(arena, x, loss)), 1e-9);
  }
}

TEST_F(BiasTest, BackwardTwiceAddsExactlyTwiceAndFloatMatchesDouble) {
  const Tensor dy = test::random_tensor<float>(arena, 3, {101, kWidth});
  const Tensor dbias = test::constant_tensor(arena, 0.0f, {kWidth}), want = test::constant_tensor(arena, 0.0, {kWidth});
  add_bias_backward(stream, dy, dbias);
  const Tensor once = test::clone(arena, dbias);
  add_bias_backward(stream, dy, dbias);
  for (int64_t i = 0; i < kWidth; ++i) EXPECT_EQ(test::element(dbias, i), 2 * test::element(once, i));
  add_bias_backward(stream, test::to_double(arena, dy), want);
  EXPECT_LT(relative_error(once, want), 1e-6);
}

TEST_F(BiasTest, RefusesTensorsThatDoNotFit) {
  const Tensor x = arena.take("x", DType::kFloat32, {2, 3}), bias = arena.take("bias", DType::kFloat32, {2});
  const std::string message = test::error_of([&] { add_bias_forward(stream, x, bias, x); });
  EXPECT_NE(message.find("bias: got float32 [2], wanted float32 [3]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
