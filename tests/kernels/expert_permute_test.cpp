#include "kernels/expert_permute.h"

#include "tests/testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ExpertPermuteTest : test::CpuFixture {
  static constexpr int64_t kTokens = 7, kTopK = 3, kExperts = 5, kWidth = 37;

  // Every token goes to distinct experts; expert 3 gets nobody.
  Tensor choose(int64_t num_tokens) {
    const Tensor expert = arena.take("expert", DType::kInt32, {num_tokens, kTopK});
    constexpr int32_t kUsed[] = {4, 0, 2, 1};
    for (int64_t i = 0; i < expert.numel(); ++i) {
      host_span<int32_t>(expert)[static_cast<size_t>(i)] = kUsed[(i / kTopK + i % kTopK) % 4];
    }
    return expert;
  }
  struct Plan {
    Tensor offsets, slot;
  };
  Plan plan(const Tensor& expert) {
    const Plan out{arena.take("offsets", DType::kInt64, {kExperts + 1}),
                   arena.take("slot", DType::kInt64, {expert.size(0), expert.size(1)})};
    expert_permute_plan(stream, expert, out.offsets, out.slot);
    return out;
  }
  Tensor permute(const Tensor& x, const Tensor& slot) {
    const Tensor sorted = arena.take("sorted", x.dtype, {slot.numel(), x.size(1)});
    permute_forward(stream, x, slot, sorted);
    return sorted;
  }
  Tensor unpermute(const Tensor& sorted, const Tensor& slot, const Tensor& weight) {
    const Tensor y = arena.take("y", sorted.dtype, {slot.size(0), sorted.size(1)});
    unpermute_forward(stream, sorted, slot, weight, y);
    return y;
  }
};

TEST_F(ExpertPermuteTest, PlanIsTheStableSortByExpert) {
  for (const int64_t num_tokens : {0, 1, 7}) {
    const Tensor expert = choose(num_tokens);
    const Plan got = plan(expert);
    std::vector<std::pair<int32_t, size_t>> order;
    const auto experts = host_span<int32_t>(expert);
    for (size_t i = 0; i < experts.size(); ++i) order.emplace_back(experts[i], i);
    std::sort(order.begin(), order.end());
    std::vector<int64_t> slot(order.size()), offsets(kExperts + 1);
    for (size_t at = 0; at < order.size(); ++at) {
      slot[order[at].second] = static_cast<int64_t>(at);
      for (auto e = static_cast<size_t>(order[at].first) + 1; e < offsets.size(); ++e) ++offsets[e];
    }
    EXPECT_TRUE(test::same_bits(got.slot, test::tensor_of<int64_t>(arena, slot, {num_tokens, kTopK})));
    EXPECT_TRUE(test::same_bits(got.offsets, test::tensor_of<int64_t>(arena, offsets, {kExperts + 1})));
  }
}

TEST_F(ExpertPermuteTest, PermuteMovesRowsBitForBit) {
  const Tensor x = test::random_tensor<float>(arena, 1, {kTokens, kWidth});
  const Tensor slot = plan(choose(kTokens)).slot, sorted = permute(x, slot);
  for (int64_t i = 0; i < kTokens * kTopK; ++i) {
    const int64_t at = host_span<int64_t>(slot)[static_cast<size_t>(i)];
    EXPECT_TRUE(test::same_bits(sorted.rows(at, 1), x.rows(i / kTopK, 1)));
  }
}

TEST_F(ExpertPermuteTest, BackwardMatchesCentralDifferences) {
  for (const int64_t num_tokens : {0, 1, 7}) {
    const Tensor x = test::random_tensor<double>(arena, 1, {num_tokens, kWidth});
    const Tensor weight = test::random_tensor<double>(arena, 2, {num_tokens, kTopK});
    const Tensor dy = test::random_tensor<double>(arena, 3, {num_tokens, kWidth});
    const Tensor scale = test::random_tensor<double>(arena, 4, {num_tokens * kTopK, kWidth});
    const Tensor slot = plan(choose(num_tokens)).slot, sorted = permute(x, slot);
    const Tensor dsorted = arena.take("dsorted", DType::kFloat64, {num_tokens * kTopK, kWidth});
    const Tensor dweight = arena.take("dweight", DType::kFloat64, {num_tokens, kTopK});
    const Tensor dx = arena.take("dx", DType::kFloat64, {num_tokens, kWidth});
    unpermute_backward(stream, sorted, slot, weight, dy, dsorted, dweight);
    const auto combined = [&] {
      Arena::Scope scope(arena);
      return test::dot(dy, unpermute(sorted, slot, weight));
    };
    EXPECT_LT(relative_error(dsorted, test::numeric_gradient(arena, sorted, combined)), 1e-9);
    EXPECT_LT(relative_error(dweight, test::numeric_gradient(arena, weight, combined)), 1e-9);
    const auto scattered = [&] {
      Arena::Scope scope(arena);
      return test::dot(scale, permute(x, slot));
    };
    permute_backward(stream, scale, slot, dx);
    EXPECT_LT(relative_error(dx, test::numeric_gradient(arena, x, scattered)), 1e-9);
  }
}

TEST_F(ExpertPermuteTest, UnpermuteMatchesTheSumInEitherPrecision) {
  const Tensor sorted = test::random_tensor<float>(arena, 1, {kTokens * kTopK, kWidth});
  const Tensor weight = test::random_tensor<float>(arena, 2, {kTokens, kTopK});
  const Tensor dy = test::random_tensor<float>(arena, 3, {kTokens, kWidth});
  const Tensor slot = plan(choose(kTokens)).slot, y = unpermute(sorted, slot, weight);
  for (int64_t i = 0; i < kTokens * kWidth; ++i) {
    double want = 0;
    for (int64_t k = i / kWidth * kTopK; k < (i / kWidth + 1) * kTopK; ++k) {
      const int64_t row = host_span<int64_t>(slot)[static_cast<size_t>(k)];
      want += test::element(weight, k) * test::element(sorted, row * kWidth + i % kWidth);
    }
    EXPECT_NEAR(test::element(y, i), want, 1e-5);
  }
  const Tensor dweight = arena.take("dweight", DType::kFloat32, {kTokens, kTopK});
  const Tensor want = arena.take("dweight", DType::kFloat64, {kTokens, kTopK});
  const Tensor wide = test::to_double(arena, sorted);
  unpermute_backward(stream, wide, slot, test::to_double(arena, weight), test::to_double(arena, dy), wide, want);
  unpermute_backward(stream, sorted, slot, weight, dy, sorted, dweight);  // dsorted may be sorted
  EXPECT_LT(relative_error(dweight, want), 1e-6);
  EXPECT_LT(relative_error(sorted, wide), 1e-6);
}

TEST_F(ExpertPermuteTest, RefusesTensorsThatDoNotFit) {
  const Tensor x = arena.take("x", DType::kFloat32, {2, 4}), slot = arena.take("slot", DType::kInt64, {2, 3});
  const Tensor sorted = arena.take("sorted", DType::kFloat32, {5, 4});
  std::string message = test::error_of([&] { permute_forward(stream, x, slot, sorted); });
  EXPECT_NE(message.find("sorted rows: got float32 [5, 4], wanted float32 [6, 4]"), std::string::npos) << message;
  const Tensor expert = arena.take("expert", DType::kInt32, {2, 3});
  message = test::error_of([&] { expert_permute_plan(stream, expert, arena.take("o", DType::kInt64, {1}), slot); });
  EXPECT_NE(message.find("offsets has 1 elements; wanted one more"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
