#include "kernels/rope.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RopeTest : test::CpuFixture {
  static constexpr int64_t kBatch = 2, kSeq = 5, kHeads = 3, kDim = 14;
  static constexpr double kTheta = 10000;

  template <class T>
  Tensor table(int64_t positions, int64_t head_dim = kDim) {
    const Tensor result = arena.take("table", dtype_of<T>, {positions, head_dim / 2, 2});
    rope_table(stream, kTheta, result);
    return result;
  }
  template <class T>
  Tensor random(uint64_t seed) {
    return test::random_tensor<T>(arena, seed, {kBatch, kSeq, kHeads, kDim});
  }
};

TEST_F(RopeTest, ForwardMatchesTheFormula) {
  const Tensor x = random<double>(1), y = arena.take("y", DType::kFloat64, {kBatch, kSeq, kHeads, kDim});
  rope_forward(stream, x, table<double>(kSeq + 3), y);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t c = i % kDim, position = i / (kDim * kHeads) % kSeq, pair = c % (kDim / 2);
    const double angle = double(position) / std::pow(kTheta, 2.0 * double(pair) / kDim);
    const bool is_low = c < kDim / 2;
    const double other = test::element(x, is_low ? i + kDim / 2 : i - kDim / 2);
    EXPECT_NEAR(test::element(y, i),
                test::element(x, i) * std::cos(angle) + (is_low ? -1 : 1) * other * std::sin(angle), 1e-14);
  }
}

TEST_F(RopeTest, BackwardMatchesCentralDifferences) {
  const Tensor x = random<double>(1), dy = random<double>(2), angles = table<double>(kSeq);
  const Tensor dx = arena.take("dx", DType::kFloat64, {kBatch, kSeq, kHeads, kDim});
  rope_backward(stream, dy, angles, dx);
  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor y = arena.take("y", DType::kFloat64, {kBatch, kSeq, kHeads, kDim});
    rope_forward(stream, x, angles, y);
    return test::dot(dy, y);
  };
  EXPECT_LT(relative_error(dx, test::numeric_gradient(arena, x, loss)), 1e-9);
}

TEST_F(RopeTest, BackwardTurnsBack) {
  const Tensor x = random<double>(1), y = test::clone(arena, x), angles = table<double>(kSeq);
  rope_forward(stream, y, angles, y);
  rope_backward(stream, y, angles, y);
  EXPECT_LT(relative_error(y, x), 1e-15);
}

TEST_F(RopeTest, InPlaceAndRepeatedGiveTheSameBits) {
  const Tensor x = random<float>(1), angles = table<float>(kSeq);
  const Tensor y = arena.take("y", DType::kFloat32, {kBatch, kSeq, kHeads, kDim});
  const Tensor again = arena.take("y", DType::kFloat32, {kBatch, kSeq, kHeads, kDim});
  rope_backward(stream, x, angles, y);
  rope_backward(stream, x, angles, again);
  EXPECT_TRUE(test::same_bits(y, again));
  rope_backward(stream, x, angles, x);
  EXPECT_TRUE(test::same_bits(x, y));
}

TEST_F(RopeTest, FloatMatchesDouble) {
  const Tensor x = random<float>(1), want = test::to_double(arena, x);
  rope_forward(stream, x, table<float>(kSeq), x);
  rope_forward(stream, want, table<double>(kSeq), want);
  EXPECT_LT(relative_error(x, want), 1e-6);
}

TEST_F(RopeTest, ScoresDependOnTheDistanceAlone) {
  const Tensor q = test::random_tensor<double>(arena, 1, {1, 1, 1, kDim});
  const Tensor k = test::random_tensor<double>(arena, 2, {1, 1, 1, kDim}), angles = table<double>(40);
  const auto score = [&](int64_t query_position, int64_t key_position) {
    const Tensor turned_q = test::clone(arena, q), turned_k = test::clone(arena, k);
    rope_forward(stream, turned_q, angles.rows(query_position, 1), turned_q);
    rope_forward(stream, turned_k, angles.rows(key_position, 1), turned_k);
    return test::dot(turned_q, turned_k);
  };
  EXPECT_NEAR(score(9, 4), score(39, 34), 1e-13);
  EXPECT_GT(std::abs(score(9, 4) - score(4, 9)), 1e-3);
}

TEST_F(RopeTest, SizesZeroAndOneWork) {
  const Tensor none = arena.take("x", DType::kFloat32, {0, 1, 1, kDim});
  rope_forward(stream, none, table<float>(1), none);
  const Tensor one = test::tensor_of<float>(arena, {3, 4}, {1, 1, 1, 2});
  rope_forward(stream, one, table<float>(1, 2), one);  // position 0 turns nothing
  EXPECT_EQ(test::element(one, 0), 3);
  EXPECT_EQ(test::element(one, 1), 4);
}

TEST_F(RopeTest, RefusesAShortTableAndAnOddDimension) {
  const Tensor x = random<float>(1), odd = test::random_tensor<float>(arena, 2, {1, 1, 1, 3});
  const std::string message = test::error_of([&] { rope_forward(stream, x, table<float>(kSeq - 1), x); });
  EXPECT_NE(message.find("the table has 4 positions, the sequence 5"), std::string::npos) << message;
  const std::string odd_message = test::error_of([&] { rope_forward(stream, odd, table<float>(1), odd); });
  EXPECT_NE(odd_message.find("head_dim is 3; wanted an even number"), std::string::npos) << odd_message;
  const std::string theta_message = test::error_of([&] { rope_table(stream, 0, table<float>(1)); });
  EXPECT_NE(theta_message.find("theta is 0; wanted a positive number"), std::string::npos) << theta_message;
}

}  // namespace
}  // namespace engram
