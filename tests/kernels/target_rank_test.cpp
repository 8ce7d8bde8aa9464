#include "kernels/target_rank.h"

#include <algorithm>

#include "tests/testing.h"

namespace engram {
namespace {

struct TargetRankTest : test::CpuFixture {
  std::vector<int64_t> ranks_of(const Tensor& logits, const std::vector<int32_t>& targets) {
    const auto num_rows = static_cast<int64_t>(targets.size());
    const Tensor ranks = arena.take("ranks", DType::kInt64, {num_rows});
    target_rank(stream, logits, test::tensor_of<int32_t>(arena, targets, {num_rows}), ranks);
    const auto all = host_span<int64_t>(ranks);
    return {all.begin(), all.end()};
  }
};

TEST_F(TargetRankTest, IsThePlaceInTheSortedRow) {
  constexpr int64_t kRows = 7, kVocabulary = 131;
  const Tensor logits = test::random_tensor<double>(arena, 1, {kRows, kVocabulary});
  std::vector<int32_t> targets;
  std::vector<int64_t> want;
  for (int64_t row = 0; row < kRows; ++row) {
    targets.push_back(static_cast<int32_t>(row * 130 / (kRows - 1)));
    const auto all = host_span<double>(logits.rows(row, 1));
    std::vector<double> sorted(all.begin(), all.end());
    std::sort(sorted.rbegin(), sorted.rend());
    const auto place = std::find(sorted.begin(), sorted.end(), all[static_cast<size_t>(targets.back())]);
    want.push_back(place - sorted.begin() + 1);
  }
  EXPECT_EQ(ranks_of(logits, targets), want);
}

TEST_F(TargetRankTest, FloatMatchesDouble) {
  const Tensor logits = test::random_tensor<float>(arena, 2, {3, 1001});
  EXPECT_EQ(ranks_of(logits, {0, 1000, 17}), ranks_of(test::to_double(arena, logits), {0, 1000, 17}));
}

TEST_F(TargetRankTest, OfEqualLogitsTheLowerColumnComesFirst) {
  const Tensor logits = test::tensor_of<float>(arena, {2, 5, 2, 5, 2, 5, 2, 5, 2, 5, 2, 5}, {3, 4});
  EXPECT_EQ(ranks_of(logits, {1, 3, 2}), (std::vector<int64_t>{1, 2, 4}));
}

TEST_F(TargetRankTest, NotANumberIsNeverBefore) {
  const Tensor logits = test::tensor_of<float>(arena, {NAN, 1, NAN, 2}, {1, 4});
  EXPECT_EQ(ranks_of(logits, {1}), std::vector<int64_t>{2});
}

TEST_F(TargetRankTest, SizesZeroAndOneWork) {
  EXPECT_TRUE(ranks_of(arena.take("logits", DType::kFloat32, {0, 5}), {}).empty());
  EXPECT_EQ(ranks_of(test::constant_tensor(arena, 7.0f, {1, 1}), {0}), std::vector<int64_t>{1});
}

TEST_F(TargetRankTest, RefusesTargetsOfAnotherLength) {
  const Tensor logits = test::random_tensor<float>(arena, 1, {4, 9});
  const std::string message = test::error_of([&] { ranks_of(logits, {0, 1, 2}); });
  EXPECT_NE(message.find("target_rank: targets: got int32 [3], wanted int32 [4]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
