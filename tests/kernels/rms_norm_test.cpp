#include "kernels/rms_norm.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RmsNormTest : test::CpuFixture {
  // Odd sizes on purpose: no multiple of a warp, a vector load or a block of rows.
  static constexpr int64_t kRows = 7, kWidth = 131;
  static constexpr double kEps = 1e-6;

  template <class T>
  struct Case {
    Tensor x, delta, weight, dy, dsum;
  };
  template <class T>
  Case<T> make_case(int64_t num_rows, int64_t width) {
    return {test::random_tensor<T>(arena, 1, {num_rows, width}), test::random_tensor<T>(arena, 2, {num_rows, width}),
            test::random_tensor<T>(arena, 3, {width}), test::random_tensor<T>(arena, 4, {num_rows, width}),
            test::random_tensor<T>(arena, 5, {num_rows, width})};
  }

  struct Outputs {
    Tensor sum, y, inv_rms;
  };
  template <class T>
  Outputs forward(const Case<T>& c) {
    const int64_t num_rows = c.x.size(0), width = c.x.size(1);
    const Outputs out{arena.take("sum", c.x.dtype, {num_rows, width}), arena.take("y", c.x.dtype, {num_rows, width}),
                      arena.take("inv_rms", c.x.dtype, {num_rows})};
    add_rms_norm_forward(stream, c.x, c.delta, c.weight, kEps, out.sum, out.y, out.inv_rms);
    return out;
  }
};

TEST_F(RmsNormTest, ForwardMatchesTheFormula) {
  const auto c = make_case<double>(kRows, kWidth);
  const Outputs out = forward(c);
  for (int64_t row = 0; row < kRows; ++row) {
    double square = 0;
    for (int64_t i = row * kWidth; i < (row + 1) * kWidth; ++i) {
      square += std::pow(test::element(c.x, i) + test::element(c.delta, i), 2) / kWidth;
    }
    for (int64_t column = 0; column < kWidth; ++column) {
      const int64_t i = row * kWidth + column;
      const double sum = test::element(c.x, i) + test::element(c.delta, i);
      EXPECT_NEAR(test::element(out.y, i), sum / std::sqrt(square + kEps) * test::element(c.weight, column), 1e-13);
      EXPECT_EQ(test::element(out.sum, i), sum);
    }
  }
}

TEST_F(RmsNormTest, PlainFormNormsTheSameSum) {
  const auto c = make_case<double>(kRows, kWidth);
  const Outputs fused = forward(c);
  const Tensor y = arena.take("y", DType::kFloat64, {kRows, kWidth}),
               inv_rms = arena.take("n", DType::kFloat64, {kRows});
  rms_norm_forward(stream, fused.sum, c.weight, kEps, y, inv_rms);
  EXPECT_TRUE(test::same_bits(y, fused.y));
  EXPECT_TRUE(test::same_bits(inv_rms, fused.inv_rms));
}

TEST_F(RmsNormTest, BackwardMatchesCentralDifferences) {
  for (const int64_t num_rows : {0, 1, 7}) {
    const auto c = make_case<double>(num_rows, kWidth);
    const Outputs out = forward(c);
    const Tensor dx = arena.take("dx", DType::kFloat64, {num_rows, kWidth});
    const Tensor dweight = test::constant_tensor(arena, 0.0, {kWidth});
    rms_norm_backward(stream, out.sum, c.weight, out.inv_rms, c.dy, c.dsum, dx, dweight);

    const auto loss = [&] {
      Arena::Scope scope(arena);
      const Outputs moved = forward(c);
      return test::dot(c.dy, moved.y) + test::dot(c.dsum, moved.sum);
    };
    EXPECT_LT(relative_error(dx, test::numeric_gradient(arena, c.x, loss)), 1e-9);
    EXPECT_LT(relative_error(dx, test::numeric_gradient(arena, c.delta, loss)), 1e-9);
    EXPECT_LT(relative_error(dweight, test::numeric_gradient(arena, c.weight, loss)), 1e-9);
  }
}

TEST_F(RmsNormTest, BackwardTwiceAddsExactlyTwice) {
  const auto c = make_case<float>(1, kWidth);
  const Outputs out = forward(c);
  const Tensor dx = arena.take("dx", DType::kFloat32, {1, kWidth});
  const Tensor dweight = test::constant_tensor(arena, 0.0f, {kWidth});
  rms_norm_backward(stream, out.sum, c.weight, out.inv_rms, c.dy, {}, dx, dweight);
  const Tensor first_dx = test::clone(arena, dx), once = test::clone(arena, dweight);
  rms_norm_backward(stream, out.sum, c.weight, out.inv_rms, c.dy, {}, dx, dweight);
  EXPECT_TRUE(test::same_bits(dx, first_dx));
  for (int64_t i = 0; i < kWidth; ++i) EXPECT_EQ(test::element(dweight, i), 2 * test::element(once, i));
}

TEST_F(RmsNormTest, FloatMatchesDouble) {
  const auto c = make_case<float>(kRows, kWidth);
  const Case<double> wide{test::to_double(arena, c.x), test::to_double(arena, c.delta),
                          test::to_double(arena, c.weight), test::to_double(arena, c.dy),
                          test::to_double(arena, c.dsum)};
  const Outputs out = forward(c), want = forward(wide);
  EXPECT_LT(relative_error(out.y, want.y), 1e-6);
  const Tensor dx = arena.take("dx", DType::kFloat32, {kRows, kWidth});
  const Tensor want_dx = arena.take("dx", DType::kFloat64, {kRows, kWidth});
  const Tensor dweight = test::constant_tensor(arena, 0.0f, {kWidth});
  const Tensor want_dweight = test::constant_tensor(arena, 0.0, {kWidth});
  rms_norm_backward(stream, out.sum, c.weight, out.inv_rms, c.dy, c.dsum, dx, dweight);
  rms_norm_backward(stream, want.sum, wide.weight, want.inv_rms, wide.dy, wide.dsum, want_dx, want_dweight);
  EXPECT_LT(relative_error(dx, want_dx), 1e-6);
  EXPECT_LT(relative_error(dweight, want_dweight), 1e-6);
}

TEST_F(RmsNormTest, RefusesTensorsThatDoNotFit) {
  const auto c = make_case<float>(kRows, kWidth);
  const Tensor narrow = arena.take("weight", DType::kFloat32, {kWidth - 1});
  const Tensor y = arena.take("y", DType::kFloat32, {kRows, kWidth}),
               inv_rms = arena.take("n", DType::kFloat32, {kRows});
  const std::string message = test::error_of([&] { rms_norm_forward(stream, c.x, narrow, kEps, y, inv_rms); });
  EXPECT_NE(message.find("weight: got float32 [130], wanted float32 [131]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
