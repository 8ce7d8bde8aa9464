#include "kernels/matmul.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct MatmulTest : test::CpuFixture {
  struct Case {
    int64_t m, n, k;
    MatmulOptions options;
  };
  static std::vector<Case> cases() {
    std::vector<Case> all;
    for (const auto [m, n, k] : {std::array<int64_t, 3>{7, 13, 131},
                                 {1, 1, 1},
                                 {33, 1, 5},
                                 {1, 33, 1},
                                 {0, 5, 3},
                                 {5, 0, 3},
                                 {5, 3, 0},
                                 {0, 0, 0}}) {
      for (int bits = 0; bits < 8; ++bits)
        all.push_back({m, n, k, {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0}});
    }
    return all;
  }

  template <class T>
  Tensor factor(uint64_t seed, int64_t rows, int64_t columns, bool transposed) {
    if (transposed) std::swap(rows, columns);
    return test::random_tensor<T>(arena, seed, {rows, columns});
  }
  // c before the product: NaN where it must not be read.
  template <class T>
  Tensor start(const Case& c) {
    if (c.options.accumulate) return test::random_tensor<T>(arena, 3, {c.m, c.n});
    return arena.take("c", dtype_of<T>, {c.m, c.n});
  }
};

TEST_F(MatmulTest, MatchesTheTripleLoop) {
  for (const Case& c : cases()) {
    Arena::Scope scope(arena);
    const Tensor a = factor<double>(1, c.m, c.k, c.options.transpose_a);
    const Tensor b = factor<double>(2, c.k, c.n, c.options.transpose_b);
    const Tensor result = start<double>(c), want = start<double>(c);
    matmul(stream, a, b, result, c.options);
    for (int64_t row = 0; row < c.m; ++row) {
      for (int64_t column = 0; column < c.n; ++column) {
        double sum = c.options.accumulate ? test::element(want, row * c.n + column) : 0;
        for (int64_t i = 0; i < c.k; ++i) {
          sum += test::element(a, c.options.transpose_a ? i * c.m + row : row * c.k + i) *
                 test::element(b, c.options.transpose_b ? column * c.k + i : i * c.n + column);
        }
        test::set_element(want, row * c.n + column, sum);
      }
    }
    EXPECT_LT(relative_error(result, want), 1e-14) << c.m << " " << c.n << " " << c.k;
  }
}

TEST_F(MatmulTest, FloatMatchesDouble) {
  for (const Case& c : cases()) {
    Arena::Scope scope(arena);
    const Tensor a = factor<float>(1, c.m, c.k, c.options.transpose_a);
    const Tensor b = factor<float>(2, c.k, c.n, c.options.transpose_b);
    const Tensor result = start<float>(c), want = test::to_double(arena, result);
    matmul(stream, a, b, result, c.options);
    matmul(stream, test::to_double(arena, a), test::to_double(arena, b), want, c.options);
    EXPECT_LT(relative_error(result, want), 1e-6) << c.m << " " << c.n << " " << c.k;
  }
}

TEST_F(MatmulTest, LinearLayerMatchesCentralDifferences) {
  constexpr int64_t kTokens = 5, kIn = 7, kOut = 3;
  const Tensor x = test::random_tensor<double>(arena, 1, {kTokens, kIn});
  const Tensor weight = test::random_tensor<double>(arena, 2, {kOut, kIn});
  const Tensor dy = test::random_tensor<double>(arena, 3, {kTokens, kOut});
  const Tensor dx = arena.take("dx", DType::kFloat64, {kTokens, kIn});
  const Tensor dweight = test::constant_tensor(arena, 0.0, {kOut, kIn});
  matmul(stream, dy, weight, dx);
  matmul(stream, dy, x, dweight, {.transpose_a = true, .accumulate = true});

  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor y = arena.take("y", DType::kFloat64, {kTokens, kOut});
    matmul(stream, x, weight, y, {.transpose_b = true});
    return test::dot(dy, y);
  };
  EXPECT_LT(relative_error(dx, test::numeric_gradient(arena, x, loss)), 1e-9);
  EXPECT_LT(relative_error(dweight, test::numeric_gradient(arena, weight, loss)), 1e-9);
}

TEST_F(MatmulTest, AccumulatingTwiceAddsExactlyTwice) {
  const Tensor a = test::random_tensor<float>(arena, 1, {31, 7}), b = test::random_tensor<float>(arena, 2, {31, 13});
  const Tensor c = test::constant_tensor(arena, 0.0f, {7, 13});
  matmul(stream, a, b, c, {.transpose_a = true, .accumulate = true});
  const Tensor once = test::clone(arena, c);
  matmul(stream, a, b, c, {.transpose_a = true, .accumulate = true});
  for (int64_t i = 0; i < c.numel(); ++i) EXPECT_EQ(test::element(c, i), 2 * test::element(once, i));
}

TEST_F(MatmulTest, RefusesInnerSizesThatDiffer) {
  const Tensor a = test::random_tensor<float>(arena, 1, {4, 7}), b = test::random_tensor<float>(arena, 2, {6, 5});
  const Tensor c = arena.take("c", DType::kFloat32, {4, 5});
  const std::string message = test::error_of([&] { matmul(stream, a, b, c); });
  EXPECT_NE(message.find("op(a) is [4, 7] and op(b) is [6, 5]"), std::string::npos) << message;
}

TEST_F(MatmulTest, RefusesAResultOfAnotherShape) {
  const Tensor a = test::random_tensor<float>(arena, 1, {4, 7}), b = test::random_tensor<float>(arena, 2, {7, 5});
  const Tensor c = arena.take("c", DType::kFloat32, {5, 4});
  const std::string message = test::error_of([&] { matmul(stream, a, b, c); });
  EXPECT_NE(message.find("matmul: c: got float32 [5, 4], wanted float32 [4, 5]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
