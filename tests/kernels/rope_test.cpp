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
  // rope_backward without a norm.
  void turn_back(const Tensor& dy, const Tensor& angles, const Tensor& dx) {
    rope_backward(stream, Tensor{}, {}, angles, dy, dx, {}, {});
  }
  template <class T>
  Tensor random(uint64_t seed) {
    return test::random_tensor<T>(arena, seed, {kBatch, kSeq, kHeads, kDim});
  }
};

TEST_F(RopeTest, ForwardMatchesTheFormula) {
  const Tensor x = random<double>(1), y = arena.take("y", DType::kFloat64, {kBatch, kSeq, kHeads, kDim});
  rope_forward(stream, x, {}, table<double>(kSeq + 3), y);
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
  turn_back(dy, angles, dx);
  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor y = arena.take("y", DType::kFloat64, {kBatch, kSeq, kHeads, kDim});
    rope_forward(stream, x, {}, angles, y);
    return test::dot(dy, y);
  };
  EXPECT_LT(relative_error(dx, test::numeric_gradient(arena, x, loss)), 1e-9);
}

TEST_F(RopeTest, BackwardTurnsBack) {
  const Tensor x = random<double>(1), y = test::clone(arena, x), angles = table<double>(kSeq);
  rope_forward(stream, y, {}, angles, y);
  turn_back(y, angles, y);
  EXPECT_LT(relative_error(y, x), 1e-15);
}

TEST_F(RopeTest, InPlaceAndRepeatedGiveTheSameBits) {
  const Tensor x = random<float>(1), angles = table<float>(kSeq);
  const Tensor y = arena.take("y", DType::kFloat32, {kBatch, kSeq, kHeads, kDim});
  const Tensor again = arena.take("y", DType::kFloat32, {kBatch, kSeq, kHeads, kDim});
  turn_back(x, angles, y);
  turn_back(x, angles, again);
  EXPECT_TRUE(test::same_bits(y, again));
  turn_back(x, angles, x);
  EXPECT_TRUE(test::same_bits(x, y));
}

TEST_F(RopeTest, FloatMatchesDouble) {
  const Tensor x = random<float>(1), want = test::to_double(arena, x);
  rope_forward(stream, x, {}, table<float>(kSeq), x);
  rope_forward(stream, want, {}, table<double>(kSeq), want);
  EXPECT_LT(relative_error(x, want), 1e-6);
}

TEST_F(RopeTest, ScoresDependOnTheDistanceAlone) {
  const Tensor q = test::random_tensor<double>(arena, 1, {1, 1, 1, kDim});
  const Tensor k = test::random_tensor<double>(arena, 2, {1, 1, 1, kDim}), angles = table<double>(40);
  const auto score = [&](int64_t query_position, int64_t key_position) {
    const Tensor turned_q = test::clone(arena, q), turned_k = test::clone(arena, k);
    rope_forward(stream, turned_q, {}, angles.rows(query_position, 1), turned_q);
    rope_forward(stream, turned_k, {}, angles.rows(key_position, 1), turned_k);
    return test::dot(turned_q, turned_k);
  };
  EXPECT_NEAR(score(9, 4), score(39, 34), 1e-13);
  EXPECT_GT(std::abs(score(9, 4) - score(4, 9)), 1e-3);
}

struct QkNormTest : RopeTest {
  static constexpr int64_t kQueries = 2, kKeys = kHeads - kQueries;

  template <class T>
  QkNorm norm() {
    return {.query_gain = test::random_tensor<T>(arena, 7, {kDim}),
            .key_gain = test::random_tensor<T>(arena, 8, {kDim}),
            .num_query_heads = kQueries,
            .eps = 0.1};
  }
  struct Gradients {
    Tensor dx, dquery_gain, dkey_gain;
  };
  template <class T>
  Gradients backward(const Tensor& x, const QkNorm& qk_norm, const Tensor& dy) {
    const Gradients g{arena.take("dx", dtype_of<T>, {kBatch, kSeq, kHeads, kDim}),
                      test::constant_tensor(arena, T(0), {kDim}), test::constant_tensor(arena, T(0), {kDim})};
    rope_backward(stream, x, qk_norm, table<T>(kSeq), dy, g.dx, g.dquery_gain, g.dkey_gain);
    return g;
  }
};

TEST_F(QkNormTest, IsTheNormBeforeTheRotation) {
  const Tensor x = random<double>(1), y = test::clone(arena, x), normed = test::clone(arena, x);
  const QkNorm qk_norm = norm<double>();
  rope_forward(stream, x, qk_norm, table<double>(kSeq), y);
  for (int64_t head = 0; head < kBatch * kSeq * kHeads; ++head) {
    const Tensor& gain = head % kHeads < kQueries ? qk_norm.query_gain : qk_norm.key_gain;
    double sum = 0;
    for (int64_t c = 0; c < kDim; ++c) sum += std::pow(test::element(x, head * kDim + c), 2);
    for (int64_t c = 0; c < kDim; ++c) {
      const double value = test::element(x, head * kDim + c) / std::sqrt(sum / kDim + qk_norm.eps);
      test::set_element(normed, head * kDim + c, value * test::element(gain, c));
    }
  }
  rope_forward(stream, normed, {}, table<double>(kSeq), normed);
  EXPECT_LT(relative_error(y, normed), 1e-15);
  rope_forward(stream, x, qk_norm, table<double>(kSeq), x);
  EXPECT_TRUE(test::same_bits(x, y));
}

TEST_F(QkNormTest, BackwardMatchesCentralDifferences) {
  const Tensor x = random<double>(1), dy = random<double>(2), angles = table<double>(kSeq);
  const QkNorm qk_norm = norm<double>();
  const Gradients g = backward<double>(x, qk_norm, dy);
  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor y = arena.take("y", DType::kFloat64, {kBatch, kSeq, kHeads, kDim});
    rope_forward(stream, x, qk_norm, angles, y);
    return test::dot(dy, y);
  };
  EXPECT_LT(relative_error(g.dx, test::numeric_gradient(arena, x, loss)), 1e-9);
  EXPECT_LT(relative_error(g.dquery_gain, test::numeric_gradient(arena, qk_norm.query_gain, loss)), 1e-9);
  EXPECT_LT(relative_error(g.dkey_gain, test::numeric_gradient(arena, qk_norm.key_gain, loss)), 1e-9);
}

TEST_F(QkNormTest, BackwardAddsToGainsAndWritesInPlace) {
  const Tensor x = random<float>(1), dy = random<float>(2);
  const QkNorm qk_norm = norm<float>();
  const Gradients g = backward<float>(x, qk_norm, dy);
  const Tensor once = test::clone(arena, g.dquery_gain), keys_once = test::clone(arena, g.dkey_gain);
  rope_backward(stream, x, qk_norm, table<float>(kSeq), dy, dy, g.dquery_gain, g.dkey_gain);
  EXPECT_TRUE(test::same_bits(dy, g.dx));
  for (int64_t c = 0; c < kDim; ++c) {
    EXPECT_NEAR(test::element(g.dquery_gain, c), 2 * test::element(once, c), 1e-5);
    EXPECT_NEAR(test::element(g.dkey_gain, c), 2 * test::element(keys_once, c), 1e-5);
  }
}

TEST_F(QkNormTest, FloatMatchesDouble) {
  const Tensor x = random<float>(1), dy = random<float>(2), y = test::clone(arena, x);
  const Tensor wide_x = test::to_double(arena, x), want_y = test::clone(arena, wide_x);
  const QkNorm qk_norm = norm<float>();
  QkNorm wide = qk_norm;
  wide.query_gain = test::to_double(arena, qk_norm.query_gain);
  wide.key_gain = test::to_double(arena, qk_norm.key_gain);
  rope_forward(stream, x, qk_norm, table<float>(kSeq), y);
  rope_forward(stream, wide_x, wide, table<double>(kSeq), want_y);
  EXPECT_LT(relative_error(y, want_y), 1e-6);
  const Gradients g = backward<float>(x, qk_norm, dy),
                  want = backward<double>(wide_x, wide, test::to_double(arena, dy));
  EXPECT_LT(relative_error(g.dx, want.dx), 1e-6);
  EXPECT_LT(relative_error(g.dquery_gain, want.dquery_gain), 1e-6);
  EXPECT_LT(relative_error(g.dkey_gain, want.dkey_gain), 1e-6);
}

TEST_F(QkNormTest, TouchesTheSliceAlone) {
  const Tensor x = random<float>(1), y = test::clone(arena, x), whole = test::clone(arena, x);
  QkNorm qk_norm = norm<float>();
  rope_forward(stream, x, qk_norm, table<float>(kSeq), whole);
  rope_forward(stream, HeadSlice(x, 1, 2), qk_norm, table<float>(kSeq), HeadSlice(y, 1, 2));
  const auto got = view<float, 4>(y), was = view<float, 4>(x), turned = view<float, 4>(whole);
  for (int64_t position = 0; position < kSeq; ++position) {
    for (int64_t c = 0; c < kDim; ++c) {
      EXPECT_EQ(got(1, position, 0, c), was(1, position, 0, c));
      EXPECT_EQ(got(1, position, 1, c), turned(1, position, 1, c));  // a query head in both
    }
  }
  EXPECT_NE(got(1, 1, 2, 3), turned(1, 1, 2, 3));  // the second of the slice takes the queries' gain
}

TEST_F(QkNormTest, RefusesWhatDoesNotFit) {
  const Tensor x = random<float>(1);
  QkNorm qk_norm = norm<float>();
  qk_norm.num_query_heads = kHeads + 1;
  std::string message = test::error_of([&] { rope_forward(stream, x, qk_norm, table<float>(kSeq), x); });
  EXPECT_NE(message.find("4 query heads among 3"), std::string::npos) << message;
  qk_norm.key_gain = {};
  message = test::error_of([&] { rope_forward(stream, x, qk_norm, table<float>(kSeq), x); });
  EXPECT_NE(message.find("one of the two gains is missing"), std::string::npos) << message;
}

TEST_F(RopeTest, SizesZeroAndOneWork) {
  const Tensor none = arena.take("x", DType::kFloat32, {0, 1, 1, kDim});
  rope_forward(stream, none, {}, table<float>(1), none);
  const Tensor one = test::tensor_of<float>(arena, {3, 4}, {1, 1, 1, 2});
  rope_forward(stream, one, {}, table<float>(1, 2), one);  // position 0 turns nothing
  EXPECT_EQ(test::element(one, 0), 3);
  EXPECT_EQ(test::element(one, 1), 4);
}

TEST_F(RopeTest, RefusesAShortTableAndAnOddDimension) {
  const Tensor x = random<float>(1), odd = test::random_tensor<float>(arena, 2, {1, 1, 1, 3});
  const std::string message = test::error_of([&] { rope_forward(stream, x, {}, table<float>(kSeq - 1), x); });
  EXPECT_NE(message.find("the table has 4 positions, the sequence 5"), std::string::npos) << message;
  const std::string odd_message = test::error_of([&] { rope_forward(stream, odd, {}, table<float>(1), odd); });
  EXPECT_NE(odd_message.find("head_dim is 3; wanted an even number"), std::string::npos) << odd_message;
  const std::string theta_message = test::error_of([&] { rope_table(stream, 0, table<float>(1)); });
  EXPECT_NE(theta_message.find("theta is 0; wanted a positive number"), std::string::npos) << theta_message;
}

}  // namespace
}  // namespace engram
