#include "kernels/attention.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct AttentionTest : test::CpuFixture {
  struct Shape {
    int64_t batch, seq, heads, kv_heads, dim;
  };
  // Past one block of query rows, odd everywhere; many queries to one key head; one of everything; nothing.
  static constexpr Shape kLong{1, 133, 2, 1, 3};
  static constexpr Shape kGrouped{2, 7, 6, 2, 5};
  static constexpr Shape kOne{1, 1, 1, 1, 1};
  static constexpr Shape kNoBatch{0, 5, 2, 2, 3};
  static constexpr Shape kNoSeq{2, 0, 2, 2, 3};
  static constexpr Shape kShapes[] = {kLong, kGrouped, kOne, kNoBatch, kNoSeq};

  struct Inputs {
    Tensor q, k, v, dout;
  };
  struct Outputs {
    Tensor out, lse;
  };
  struct Gradients {
    Tensor dq, dk, dv;
  };

  template <class T>
  Inputs make_inputs(const Shape& s) {
    return {test::random_tensor<T>(arena, 1, {s.batch, s.seq, s.heads, s.dim}),
            test::random_tensor<T>(arena, 2, {s.batch, s.seq, s.kv_heads, s.dim}),
            test::random_tensor<T>(arena, 3, {s.batch, s.seq, s.kv_heads, s.dim}),
            test::random_tensor<T>(arena, 4, {s.batch, s.seq, s.heads, s.dim})};
  }
  Tensor like(const Tensor& x) { return arena.take("like", x.dtype, {x.size(0), x.size(1), x.size(2), x.size(3)}); }

  Outputs forward(const Inputs& x) {
    const Outputs y{like(x.q), arena.take("lse", x.q.dtype, {x.q.size(0), x.q.size(2), x.q.size(1)})};
    attention_forward(stream, x.q, x.k, x.v, y.out, y.lse);
    return y;
  }
  Gradients backward(const Inputs& x, const Outputs& y) {
    const Gradients g{like(x.q), like(x.k), like(x.v)};
    attention_backward(stream, x.q, x.k, x.v, y.out, y.lse, x.dout, g.dq, g.dk, g.dv);
    return g;
  }
};

// The definition, one query at a time.
void naive_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse) {
  const auto qs = view<const double, 4>(q), ks = view<const double, 4>(k), vs = view<const double, 4>(v);
  const auto outs = view<double, 4>(out);
  const int64_t heads = q.size(2), dim = q.size(3), group = heads / k.size(2);
  for (int64_t row = 0; row < q.size(0) * heads * q.size(1); ++row) {
    const int64_t i = row % q.size(1), head = row / q.size(1) % heads, batch = row / q.size(1) / heads;
    std::vector<double> weights;
    double sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      double score = 0;
      for (int64_t c = 0; c < dim; ++c) score += qs(batch, i, head, c) * ks(batch, j, head / group, c);
      weights.push_back(std::exp(score / std::sqrt(double(dim))));
      sum += weights.back();
    }
    view<double, 3>(lse)(batch, head, i) = std::log(sum);
    for (int64_t c = 0; c < dim; ++c) {
      double mixed = 0;
      for (int64_t j = 0; j <= i; ++j) mixed += weights[static_cast<size_t>(j)] / sum * vs(batch, j, head / group, c);
      outs(batch, i, head, c) = mixed;
    }
  }
}

TEST_F(AttentionTest, ForwardMatchesTheDefinition) {
  for (const Shape& shape : kShapes) {
    const Inputs x = make_inputs<double>(shape);
    const Outputs got = forward(x), want{like(x.q), test::clone(arena, got.lse)};
    naive_forward(x.q, x.k, x.v, want.out, want.lse);
    EXPECT_LT(relative_error(got.out, want.out), 1e-13);
    EXPECT_LT(relative_error(got.lse, want.lse), 1e-13);
  }
}

TEST_F(AttentionTest, BackwardMatchesCentralDifferences) {
  for (const Shape& shape : kShapes) {
    Arena::Scope whole(arena);
    const Inputs x = make_inputs<double>(shape);
    const Gradients g = backward(x, forward(x));
    const auto loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(x.dout, forward(x).out);
    };
    EXPECT_LT(relative_error(g.dq, test::numeric_gradient(arena, x.q, loss)), 1e-9);
    EXPECT_LT(relative_error(g.dk, test::numeric_gradient(arena, x.k, loss)), 1e-9);
    EXPECT_LT(relative_error(g.dv, test::numeric_gradient(arena, x.v, loss)), 1e-9);
  }
}

TEST_F(AttentionTest, FloatMatchesDouble) {
  constexpr Shape kLarge{1, 301, 4, 2, 67};
  for (const Shape& shape : {kLarge, kLong, kGrouped}) {
    Arena::Scope scope(arena);
    const Inputs x = make_inputs<float>(shape);
    const Inputs wide{test::to_double(arena, x.q), test::to_double(arena, x.k), test::to_double(arena, x.v),
                      test::to_double(arena, x.dout)};
    const Outputs y = forward(x), want_y = forward(wide);
    const Gradients g = backward(x, y), want = backward(wide, want_y);
    EXPECT_LT(relative_error(y.out, want_y.out), 2e-6);
    EXPECT_LT(relative_error(y.lse, want_y.lse), 2e-6);
    EXPECT_LT(relative_error(g.dq, want.dq), 2e-6);
    EXPECT_LT(relative_error(g.dk, want.dk), 2e-6);
    EXPECT_LT(relative_error(g.dv, want.dv), 2e-6);
  }
}

TEST_F(AttentionTest, LaterTokensChangeNoBitOfEarlierOutputs) {
  const Inputs x = make_inputs<float>(kLong);
  const Outputs before = forward(x);
  constexpr int64_t kChanged = 101;
  for (const Tensor& tensor : {x.q, x.k, x.v}) {
    const int64_t row_size = tensor.size(2) * tensor.size(3);
    for (int64_t i = kChanged * row_size; i < tensor.numel(); ++i) test::set_element(tensor, i, 5);
  }
  const Outputs after = forward(x);
  const auto rows_of = [](const Tensor& out) { return out.reshape({kLong.seq, kLong.heads * kLong.dim}); };
  EXPECT_TRUE(test::same_bits(rows_of(before.out).rows(0, kChanged), rows_of(after.out).rows(0, kChanged)));
  EXPECT_FALSE(test::same_bits(rows_of(before.out).rows(kChanged, 1), rows_of(after.out).rows(kChanged, 1)));
}

TEST_F(AttentionTest, SequencesOfABatchDoNotMix) {
  const Inputs x = make_inputs<double>(kGrouped);
  const Outputs y = forward(x);
  const Gradients g = backward(x, y);
  const Inputs second{x.q.rows(1, 1), x.k.rows(1, 1), x.v.rows(1, 1), x.dout.rows(1, 1)};
  const Outputs alone = forward(second);
  const Gradients g_alone = backward(second, alone);
  EXPECT_TRUE(test::same_bits(y.out.rows(1, 1), alone.out));
  EXPECT_TRUE(test::same_bits(g.dq.rows(1, 1), g_alone.dq));
  EXPECT_TRUE(test::same_bits(g.dk.rows(1, 1), g_alone.dk));
  EXPECT_TRUE(test::same_bits(g.dv.rows(1, 1), g_alone.dv));
}

TEST_F(AttentionTest, BackwardTwiceWritesTheSameBits) {
  const Inputs x = make_inputs<float>(kLong);
  const Outputs y = forward(x);
  const Gradients g = backward(x, y);
  const Gradients first{test::clone(arena, g.dq), test::clone(arena, g.dk), test::clone(arena, g.dv)};
  attention_backward(stream, x.q, x.k, x.v, y.out, y.lse, x.dout, g.dq, g.dk, g.dv);
  EXPECT_TRUE(test::same_bits(g.dq, first.dq));
  EXPECT_TRUE(test::same_bits(g.dk, first.dk));
  EXPECT_TRUE(test::same_bits(g.dv, first.dv));
}

TEST_F(AttentionTest, LargeScoresDoNotOverflow) {
  const Tensor q = test::constant_tensor(arena, 100.0f, {1, 3, 1, 4}),
               v = test::random_tensor<float>(arena, 1, {1, 3, 1, 4});
  const Tensor out = like(q), lse = arena.take("lse", DType::kFloat32, {1, 1, 3});
  attention_forward(stream, q, q, v, out, lse);
  EXPECT_NEAR(test::element(lse, 2), 20000 + std::log(3.0), 1e-2);
  const double mean = (test::element(v, 0) + test::element(v, 4) + test::element(v, 8)) / 3;
  EXPECT_NEAR(test::element(out, 8), mean, 1e-6);
}

TEST_F(AttentionTest, SlicesOfOnePackedTensorGiveTheSameBits) {
  const Inputs x = make_inputs<float>(kGrouped);
  const auto [batch, seq, heads, kv_heads, dim] = kGrouped;
  const int64_t all = heads + 2 * kv_heads;
  const Tensor packed = arena.take("packed", DType::kFloat32, {batch, seq, all, dim}),
               dpacked = arena.take("dpacked", DType::kFloat32, {batch, seq, all, dim});
  const auto slices = [&](const Tensor& tensor) {
    return std::array{HeadSlice(tensor, 0, heads), HeadSlice(tensor, heads, kv_heads),
                      HeadSlice(tensor, heads + kv_heads, kv_heads)};
  };
  const auto move = [&](const HeadSlice& slice, const Tensor& whole, bool out) {
    const auto in_slice = heads_view<float>(slice), in_whole = heads_view<float>(whole);
    for (int64_t position = 0; position < batch * seq; ++position) {
      float *from = in_whole.at(position, 0), *to = in_slice.at(position, 0);
      if (out) std::swap(from, to);
      std::copy_n(from, slice.count * dim, to);
    }
  };
  const auto [q, k, v] = slices(packed);
  const auto [dq, dk, dv] = slices(dpacked);
  move(q, x.q, false);
  move(k, x.k, false);
  move(v, x.v, false);
  const Outputs y = forward(x), got{like(x.q), arena.take("lse", DType::kFloat32, {batch, heads, seq})};
  attention_forward(stream, q, k, v, got.out, got.lse);
  EXPECT_TRUE(test::same_bits(got.out, y.out));
  EXPECT_TRUE(test::same_bits(got.lse, y.lse));
  const Gradients g = backward(x, y), moved{like(x.q), like(x.k), like(x.v)};
  attention_backward(stream, q, k, v, got.out, got.lse, x.dout, dq, dk, dv);
  move(dq, moved.dq, true);
  move(dk, moved.dk, true);
  move(dv, moved.dv, true);
  EXPECT_TRUE(test::same_bits(moved.dq, g.dq));
  EXPECT_TRUE(test::same_bits(moved.dk, g.dk));
  EXPECT_TRUE(test::same_bits(moved.dv, g.dv));
}

TEST_F(AttentionTest, WorkspaceIsOfAGiBOrOneSequence) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  EXPECT_EQ(attention_workspace_bytes(DType::kFloat32, {32, 2048, 12, 64}), 0);
  EXPECT_EQ(attention_workspace_bytes(DType::kBFloat16, {0, 2048, 12, 64}), 0);
  const int64_t several = attention_workspace_bytes(DType::kBFloat16, {32, 2048, 12, 64});
  EXPECT_GT(several, 8 * 12 * 2048 * 2048 * 2);  // 32 sequences in four calls
  EXPECT_LT(several, kGiB);
  const int64_t one = attention_workspace_bytes(DType::kBFloat16, {4, 8192, 16, 128});
  EXPECT_GT(one, 2 * kGiB);
  EXPECT_LT(one, 2 * kGiB + (int64_t{128} << 20));
  EXPECT_GT(attention_workspace_bytes(DType::kBFloat16, {1, 130, 1, 64}), 256 * 256 * 2);
}

TEST_F(AttentionTest, RefusesTensorsThatDoNotFit) {
  const Inputs x = make_inputs<float>(kGrouped);
  const Outputs y = forward(x);
  const Tensor four_heads = arena.take("k", DType::kFloat32, {2, 7, 4, 5});
  std::string message = test::error_of([&] { attention_forward(stream, x.q, four_heads, four_heads, y.out, y.lse); });
  EXPECT_NE(message.find("6 query heads over 4 key heads"), std::string::npos) << message;
  message = test::error_of([&] { attention_forward(stream, x.q, x.k, x.q, y.out, y.lse); });
  EXPECT_NE(message.find("attention: v: got float32 [2, 7, 6, 5], wanted float32 [2, 7, 2, 5]"), std::string::npos)
      << message;
  message =
      test::error_of([&] { attention_backward(stream, x.q, x.k, x.v, y.out, y.lse, x.dout, x.q, x.k, four_heads); });
  EXPECT_NE(message.find("attention: dv: got float32 [2, 7, 4, 5]"), std::string::npos) << message;
  message = test::error_of([&] { attention_forward(stream, x.q, HeadSlice(x.k, 1, 2), x.v, y.out, y.lse); });
  EXPECT_NE(message.find("wanted float32 [2, 7, -1, 5]; its first head is 1 of 2"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
