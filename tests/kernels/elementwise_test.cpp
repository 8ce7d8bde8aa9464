#include "kernels/elementwise.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ElementwiseTest : test::CpuFixture {
  template <class T>
  Tensor random(uint64_t seed, int64_t rows = 7) {
    return test::random_tensor<T>(arena, seed, {rows, 19});
  }
};

TEST_F(ElementwiseTest, EachMatchesItsFormulaBitForBit) {
  for (const int64_t rows : {0, 1, 7}) {
    const Tensor a = random<float>(1, rows), b = random<float>(2, rows), y = random<float>(3, rows);
    const Tensor sum = arena.take("sum", DType::kFloat32, {rows, 19}),
                 product = arena.take("y", DType::kFloat32, {rows, 19});
    const Tensor total = test::clone(arena, y);
    add(stream, a, b, sum);
    accumulate(stream, a, total);
    scale(stream, 0.3, a, product);
    for (int64_t i = 0; i < a.numel(); ++i) {
      const auto at = [i](const Tensor& tensor) { return static_cast<float>(test::element(tensor, i)); };
      EXPECT_EQ(at(sum), at(a) + at(b));
      EXPECT_EQ(at(total), at(y) + at(a));
      EXPECT_EQ(at(product), 0.3f * at(a));
    }
  }
}

TEST_F(ElementwiseTest, InPlaceGivesTheSameBits) {
  const Tensor a = random<float>(1), b = random<float>(2), result = arena.take("y", DType::kFloat32, {7, 19});
  add(stream, a, b, result);
  const Tensor moved_a = test::clone(arena, a), moved_b = test::clone(arena, b);
  add(stream, moved_a, b, moved_a);
  add(stream, a, moved_b, moved_b);
  EXPECT_TRUE(test::same_bits(moved_a, result));
  EXPECT_TRUE(test::same_bits(moved_b, result));
  scale(stream, 0.3, a, result);
  scale(stream, 0.3, a, a);
  EXPECT_TRUE(test::same_bits(a, result));
}

TEST_F(ElementwiseTest, SlopesMatchCentralDifferences) {
  const Tensor a = random<double>(1), b = random<double>(2), dsum = random<double>(3);
  const Tensor da = arena.take("da", DType::kFloat64, {7, 19});
  scale(stream, -0.7, dsum, da);
  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor sum = arena.take("sum", DType::kFloat64, {7, 19});
    scale(stream, -0.7, a, sum);
    add(stream, sum, b, sum);
    return test::dot(dsum, sum);
  };
  EXPECT_LT(relative_error(da, test::numeric_gradient(arena, a, loss)), 1e-9);
  EXPECT_LT(relative_error(dsum, test::numeric_gradient(arena, b, loss)), 1e-9);
}

TEST_F(ElementwiseTest, AccumulatingTwiceAddsExactlyTwice) {
  const Tensor x = random<float>(1), y = test::constant_tensor(arena, 0.0f, {7, 19});
  accumulate(stream, x, y);
  accumulate(stream, x, y);
  for (int64_t i = 0; i < x.numel(); ++i) EXPECT_EQ(test::element(y, i), 2 * test::element(x, i));
}

TEST_F(ElementwiseTest, FloatMatchesDouble) {
  const Tensor x = random<float>(1), y = random<float>(2), want = test::to_double(arena, y);
  const Tensor wide = test::to_double(arena, x);
  scale(stream, 0.3, x, x);
  accumulate(stream, x, y);
  scale(stream, 0.3, wide, wide);
  accumulate(stream, wide, want);
  EXPECT_LT(relative_error(y, want), 1e-7);
}

TEST_F(ElementwiseTest, RefusesTensorsThatDoNotFit) {
  const Tensor x = random<float>(1), other = arena.take("y", DType::kFloat32, {19, 7}), wide = random<double>(1);
  std::string message = test::error_of([&] { add(stream, x, x, other); });
  EXPECT_NE(message.find("add: sum: got float32 [19, 7], wanted float32 [7, 19]"), std::string::npos) << message;
  message = test::error_of([&] { accumulate(stream, x, wide); });
  EXPECT_NE(message.find("accumulate: y: got float64 [7, 19], wanted float32 [7, 19]"), std::string::npos) << message;
  message = test::error_of([&] { scale(stream, 1, x, other); });
  EXPECT_NE(message.find("scale: y: got float32 [19, 7]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
