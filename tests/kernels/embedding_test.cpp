#include "kernels/embedding.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct EmbeddingTest : test::CpuFixture {
  static constexpr int64_t kRows = 11, kWidth = 13;

  // Repeats, the first and the last row.
  Tensor tokens() { return test::tensor_of<int32_t>(arena, {3, 0, 3, 10, 7, 3, 0}, {7}); }
};

TEST_F(EmbeddingTest, ForwardCopiesRowsBitForBit) {
  const Tensor table = test::random_tensor<float>(arena, 1, {kRows, kWidth}),
               y = arena.take("y", DType::kFloat32, {7, kWidth});
  embedding_forward(stream, tokens(), table, y);
  for (int64_t i = 0; i < 7; ++i) {
    EXPECT_TRUE(test::same_bits(y.rows(i, 1), table.rows(host_span<int32_t>(tokens())[static_cast<size_t>(i)], 1)));
  }
}

TEST_F(EmbeddingTest, BackwardMatchesCentralDifferences) {
  const Tensor table = test::random_tensor<double>(arena, 1, {kRows, kWidth});
  const Tensor ids = tokens(), dy = test::random_tensor<double>(arena, 2, {7, kWidth});
  const Tensor dtable = test::constant_tensor(arena, 0.0, {kRows, kWidth});
  embedding_backward(stream, ids, dy, dtable);
  const auto loss = [&] {
    Arena::Scope scope(arena);
    const Tensor y = arena.take("y", DType::kFloat64, {7, kWidth});
    embedding_forward(stream, ids, table, y);
    return test::dot(dy, y);
  };
  EXPECT_LT(relative_error(dtable, test::numeric_gradient(arena, table, loss)), 1e-9);
}

TEST_F(EmbeddingTest, BackwardAddsInTheOrderOfTheTokens) {
  const Tensor dy = test::random_tensor<float>(arena, 2, {7, kWidth});
  const Tensor dtable = test::random_tensor<float>(arena, 3, {kRows, kWidth}), want = test::clone(arena, dtable);
  embedding_backward(stream, tokens(), dy, dtable);
  const auto ids = host_span<int32_t>(tokens());
  const auto sums = host_span<float>(want), terms = host_span<float>(dy);
  for (size_t i = 0; i < 7; ++i) {
    for (size_t c = 0; c < size_t{kWidth}; ++c) sums[static_cast<size_t>(ids[i]) * kWidth + c] += terms[i * kWidth + c];
  }
  EXPECT_TRUE(test::same_bits(dtable, want));
}

TEST_F(EmbeddingTest, FloatMatchesDouble) {
  const Tensor dy = test::random_tensor<float>(arena, 2, {7, kWidth});
  const Tensor dtable = test::constant_tensor(arena, 0.0f, {kRows, kWidth}), want = test::to_double(arena, dtable);
  embedding_backward(stream, tokens(), dy, dtable);
  embedding_backward(stream, tokens(), test::to_double(arena, dy), want);
  EXPECT_LT(relative_error(dtable, want), 1e-6);
}

TEST_F(EmbeddingTest, BackwardTwiceAddsExactlyTwice) {
  const Tensor ids = test::tensor_of<int32_t>(arena, {4, 9, 0}, {3});  // no repeats: one addition per element
  const Tensor dy = test::random_tensor<float>(arena, 2, {3, kWidth});
  const Tensor dtable = test::constant_tensor(arena, 0.0f, {kRows, kWidth});
  embedding_backward(stream, ids, dy, dtable);
  const Tensor once = test::clone(arena, dtable);
  embedding_backward(stream, ids, dy, dtable);
  for (int64_t i = 0; i < dtable.numel(); ++i) EXPECT_EQ(test::element(dtable, i), 2 * test::element(once, i));
}

TEST_F(EmbeddingTest, NoTokensAndOneByOneWork) {
  const Tensor table = test::constant_tensor(arena, 2.0f, {1, 1});
  const Tensor none = arena.take("tokens", DType::kInt32, {0}), no_rows = arena.take("y", DType::kFloat32, {0, 1});
  embedding_forward(stream, none, table, no_rows);
  embedding_backward(stream, none, no_rows, table);
  EXPECT_EQ(test::element(table, 0), 2);

  const Tensor token = test::tensor_of<int32_t>(arena, {0}, {1}), y = arena.take("y", DType::kFloat32, {1, 1});
  embedding_forward(stream, token, table, y);
  embedding_backward(stream, token, y, table);
  EXPECT_EQ(test::element(y, 0), 2);
  EXPECT_EQ(test::element(table, 0), 4);
}

TEST_F(EmbeddingTest, RefusesTokensOfAnotherType) {
  const Tensor table = test::random_tensor<float>(arena, 1, {kRows, kWidth}),
               y = arena.take("y", DType::kFloat32, {7, kWidth});
  const Tensor wide = arena.take("tokens", DType::kInt64, {7});
  const std::string message = test::error_of([&] { embedding_forward(stream, wide, table, y); });
  EXPECT_NE(message.find("tokens: got int64 [7], wanted int32 [-1]"), std::string::npos) << message;
}

TEST_F(EmbeddingTest, RefusesAGradientOfAnotherWidth) {
  const Tensor dy = test::random_tensor<float>(arena, 1, {7, kWidth});
  const Tensor dtable = arena.take("dtable", DType::kFloat32, {kRows, kWidth - 1});
  const std::string message = test::error_of([&] { embedding_backward(stream, tokens(), dy, dtable); });
  EXPECT_NE(message.find("dtable: got float32 [11, 12], wanted float32 [-1, 13]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
