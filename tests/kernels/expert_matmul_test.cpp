#include "kernels/expert_matmul.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ExpertMatmulTest : test::CpuFixture {
  static constexpr int64_t kExperts = 4, kIn = 5, kOut = 7;

  template <class T>
  struct Case {
    Tensor x, weight, offsets, dy;
  };
  // Experts 0 and 2 have no rows.
  template <class T>
  Case<T> make_case(int64_t num_rows) {
    const int64_t first = (num_rows + 1) / 2;
    return {test::random_tensor<T>(arena, 1, {num_rows, kIn}), test::random_tensor<T>(arena, 2, {kExperts, kOut, kIn}),
            test::tensor_of<int64_t>(arena, {0, 0, first, first, num_rows}, {kExperts + 1}),
            test::random_tensor<T>(arena, 3, {num_rows, kOut})};
  }
  template <class T>
  Tensor forward(const Case<T>& c) {
    const Tensor y = arena.take("y", c.x.dtype, {c.x.size(0), kOut});
    expert_matmul_forward(stream, c.x, c.weight, c.offsets, y);
    return y;
  }
  template <class T>
  Tensor backward_input(const Case<T>& c) {
    const Tensor dx = arena.take("dx", c.x.dtype, {c.x.size(0), kIn});
    expert_matmul_backward_input(stream, c.dy, c.weight, c.offsets, dx);
    return dx;
  }
  template <class T>
  Tensor backward_weight(const Case<T>& c) {
    const Tensor dweight = test::constant_tensor(arena, T(0), {kExperts, kOut, kIn});
    expert_matmul_backward_weight(stream, c.dy, c.x, c.offsets, dweight);
    return dweight;
  }
};

TEST_F(ExpertMatmulTest, ForwardUsesTheMatrixOfEachRowsExpert) {
  const auto c = make_case<double>(9);
  const Tensor y = forward(c);
  for (int64_t i = 0; i < 9 * kOut; ++i) {
    const int64_t row = i / kOut, expert = row < 5 ? 1 : 3;
    double want = 0;
    for (int64_t k = 0; k < kIn; ++k) {
      want += test::element(c.x, row * kIn + k) * test::element(c.weight, (expert * kOut + i % kOut) * kIn + k);
    }
    EXPECT_NEAR(test::element(y, i), want, 1e-13);
  }
}

TEST_F(ExpertMatmulTest, BackwardMatchesCentralDifferences) {
  for (const int64_t num_rows : {0, 1, 9}) {
    const auto c = make_case<double>(num_rows);
    const auto loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(c.dy, forward(c));
    };
    EXPECT_LT(relative_error(backward_input(c), test::numeric_gradient(arena, c.x, loss)), 1e-9);
    EXPECT_LT(relative_error(backward_weight(c), test::numeric_gradient(arena, c.weight, loss)), 1e-9);
  }
}

TEST_F(ExpertMatmulTest, BackwardTwiceAddsExactlyTwiceAndNothingWithoutRows) {
  const auto c = make_case<float>(9);
  const Tensor dweight = backward_weight(c), once = test::clone(arena, dweight);
  expert_matmul_backward_weight(stream, c.dy, c.x, c.offsets, dweight);
  for (int64_t i = 0; i < dweight.numel(); ++i) {
    EXPECT_EQ(test::element(dweight, i), 2 * test::element(once, i));
    EXPECT_EQ(test::element(dweight, i) != 0, i / (kOut * kIn) % 2 == 1) << i;
  }
}

TEST_F(ExpertMatmulTest, FloatMatchesDouble) {
  const auto c = make_case<float>(9);
  const Case<double> wide{test::to_double(arena, c.x), test::to_double(arena, c.weight), c.offsets,
                          test::to_double(arena, c.dy)};
  EXPECT_LT(relative_error(forward(c), forward(wide)), 1e-6);
  EXPECT_LT(relative_error(backward_input(c), backward_input(wide)), 1e-6);
  EXPECT_LT(relative_error(backward_weight(c), backward_weight(wide)), 1e-6);
}

TEST_F(ExpertMatmulTest, RefusesWhatDoesNotFit) {
  auto c = make_case<float>(9);
  c.offsets = test::tensor_of<int64_t>(arena, {0, 0, 5, 5, 8}, {kExperts + 1});
  std::string message = test::error_of([&] { forward(c); });
  EXPECT_NE(message.find("offsets span 0 to 8; wanted 0 to 9"), std::string::npos) << message;
  c.offsets = test::tensor_of<int64_t>(arena, {0, 6, 5, 5, 9}, {kExperts + 1});
  message = test::error_of([&] { forward(c); });
  EXPECT_NE(message.find("offsets fall from 6 to 5 at expert 1"), std::string::npos) << message;
  c.x = c.x.reshape({kIn, 9});
  message = test::error_of([&] { forward(c); });
  EXPECT_NE(message.find("input side: got float32 [5, 9], wanted float32 [-1, 5]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
