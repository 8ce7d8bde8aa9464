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
  ExpertPlan plan(const Tensor& expert) {
    const ExpertPlan out{arena.take("offsets", DType::kInt64, {kExperts + 1}),
                         arena.take("slot", DType::kInt64, {expert.size(0), expert.size(1)}),
                         arena.take("choice", DType::kInt64, {expert.numel()})};
    expert_permute_plan(stream, expert, out);
    return out;
  }
  Tensor permuted(const Tensor& x, const Tensor& slot) {
    const Tensor sorted = arena.take("sorted", x.dtype, {slot.numel(), x.size(1)});
    permute(stream, x, slot, sorted);
    return sorted;
  }
  Tensor unpermuted(const Tensor& sorted, const Tensor& slot, const Tensor& addend = {}) {
    const Tensor y = arena.take("y", sorted.dtype, {slot.size(0), sorted.size(1)});
    unpermute(stream, sorted, slot, addend, y);
    return y;
  }
};

TEST_F(ExpertPermuteTest, PlanIsTheStableSortByExpert) {
  for (const int64_t num_tokens : {0, 1, 7}) {
    const Tensor expert = choose(num_tokens);
    const ExpertPlan got = plan(expert);
    std::vector<std::pair<int32_t, size_t>> order;
    const auto experts = host_span<int32_t>(expert);
    for (size_t i = 0; i < experts.size(); ++i) order.emplace_back(experts[i], i);
    std::sort(order.begin(), order.end());
    std::vector<int64_t> slot(order.size()), choice(order.size()), offsets(kExperts + 1);
    for (size_t at = 0; at < order.size(); ++at) {
      choice[at] = static_cast<int64_t>(order[at].second);
      slot[order[at].second] = static_cast<int64_t>(at);
      for (auto e = static_cast<size_t>(order[at].first) + 1; e < offsets.size(); ++e) ++offsets[e];
    }
    EXPECT_TRUE(test::same_bits(got.slot, test::tensor_of<int64_t>(arena, slot, {num_tokens, kTopK})));
    EXPECT_TRUE(test::same_bits(got.choice, test::tensor_of<int64_t>(arena, choice, {num_tokens * kTopK})));
    EXPECT_TRUE(test::same_bits(got.offsets, test::tensor_of<int64_t>(arena, offsets, {kExperts + 1})));
  }
}

TEST_F(ExpertPermuteTest, PermuteMovesRowsBitForBit) {
  const Tensor x = test::random_tensor<float>(arena, 1, {kTokens, kWidth});
  const Tensor slot = plan(choose(kTokens)).slot, sorted = permuted(x, slot);
  for (int64_t i = 0; i < kTokens * kTopK; ++i) {
    const int64_t at = host_span<int64_t>(slot)[static_cast<size_t>(i)];
    EXPECT_TRUE(test::same_bits(sorted.rows(at, 1), x.rows(i / kTopK, 1)));
  }
}

TEST_F(ExpertPermuteTest, PermuteMovesWholeNumbersToo) {
  const Tensor expert = choose(kTokens), slot = plan(expert).slot;
  const Tensor sorted = permuted(expert.reshape({expert.numel(), 1}), slot.reshape({slot.numel(), 1}));
  const auto experts = host_span<int32_t>(sorted);
  EXPECT_TRUE(std::is_sorted(experts.begin(), experts.end()));
  EXPECT_EQ(std::count(experts.begin(), experts.end(), 4), std::ranges::count(host_span<int32_t>(expert), 4));
}

TEST_F(ExpertPermuteTest, EachIsTheGradientOfTheOther) {
  for (const int64_t num_tokens : {0, 1, 7}) {
    const Tensor x = test::random_tensor<double>(arena, 1, {num_tokens, kWidth});
    const Tensor rows = test::random_tensor<double>(arena, 2, {num_tokens * kTopK, kWidth});
    const Tensor slot = plan(choose(num_tokens)).slot;
    const auto permuted_loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(rows, permuted(x, slot));
    };
    EXPECT_LT(relative_error(unpermuted(rows, slot), test::numeric_gradient(arena, x, permuted_loss)), 1e-9);
    const auto unpermuted_loss = [&] {
      Arena::Scope scope(arena);
      return test::dot(x, unpermuted(rows, slot));
    };
    EXPECT_LT(relative_error(permuted(x, slot), test::numeric_gradient(arena, rows, unpermuted_loss)), 1e-9);
  }
}

TEST_F(ExpertPermuteTest, UnpermuteAddsTheAddendToTheSumInEitherPrecision) {
  const Tensor sorted = test::random_tensor<float>(arena, 1, {kTokens * kTopK, kWidth});
  const Tensor addend = test::random_tensor<float>(arena, 2, {kTokens, kWidth});
  const Tensor slot = plan(choose(kTokens)).slot, y = unpermuted(sorted, slot, addend);
  for (int64_t i = 0; i < kTokens * kWidth; ++i) {
    double want = test::element(addend, i);
    for (int64_t k = i / kWidth * kTopK; k < (i / kWidth + 1) * kTopK; ++k) {
      want += test::element(sorted, host_span<int64_t>(slot)[static_cast<size_t>(k)] * kWidth + i % kWidth);
    }
    EXPECT_NEAR(test::element(y, i), want, 1e-5);
  }
  unpermute(stream, sorted, slot, addend, addend);  // y may be addend
  EXPECT_TRUE(test::same_bits(addend, y));
}

TEST_F(ExpertPermuteTest, RefusesTensorsThatDoNotFit) {
  const Tensor x = arena.take("x", DType::kFloat32, {2, 4}), slot = arena.take("slot", DType::kInt64, {2, 3});
  const Tensor sorted = arena.take("sorted", DType::kFloat32, {5, 4});
  std::string message = test::error_of([&] { permute(stream, x, slot, sorted); });
  EXPECT_NE(message.find("sorted rows: got float32 [5, 4], wanted float32 [6, 4]"), std::string::npos) << message;
  const Tensor expert = arena.take("expert", DType::kInt32, {2, 3});
  const Tensor choice = arena.take("choice", DType::kInt64, {6});
  message = test::error_of([&] {
    expert_permute_plan(stream, expert, {arena.take("o", DType::kInt64, {1}), slot, choice});
  });
  EXPECT_NE(message.find("offsets has 1 elements; wanted one more"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
