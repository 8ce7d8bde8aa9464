#include "parallel/zero.h"

#include "tests/testing.h"

namespace engram {
namespace {

const std::vector<int64_t> kNumels{1000, 1, 0, 64, 4097, 131, 7};

struct Case {
  ZeroPolicy policy;
  int num_ranks;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int num_ranks : {1, 2, 3, 4, 8, 64}) {
    all.push_back({ZeroPolicy::kFlat, num_ranks});
    all.push_back({ZeroPolicy::kWholeMatrix, num_ranks});
  }
  return all;
}

TEST(OwnershipMapTest, EveryElementHasOneOwnerAndOnePlace) {
  for (const Case& c : cases()) {
    const OwnershipMap map(kNumels, c.num_ranks, c.policy);
    std::vector<std::vector<int>> owners;
    for (const int64_t numel : kNumels) owners.emplace_back(static_cast<size_t>(numel), 0);
    std::vector<int> places(static_cast<size_t>(map.flat_size()));
    for (int rank = 0; rank < c.num_ranks; ++rank) {
      int64_t end = 0;
      for (const ParameterSlice& slice : map.slices(rank)) {
        EXPECT_GT(slice.count, 0);
        EXPECT_GE(map.part_offset(slice), end) << "slices lie in the order of the part";
        end = map.part_offset(slice) + slice.count;
        ASSERT_LE(end, map.part_size());
        for (int64_t i = 0; i < slice.count; ++i) {
          ++owners[static_cast<size_t>(slice.parameter)].at(static_cast<size_t>(slice.offset + i));
          ++places[static_cast<size_t>(rank * map.part_size() + map.part_offset(slice) + i)];
          EXPECT_EQ(map.flat_offset(slice.parameter) + slice.offset, rank * map.part_size() + map.part_offset(slice));
        }
      }
    }
    for (const auto& parameter : owners) {
      for (const int count : parameter) EXPECT_EQ(count, 1);
    }
    EXPECT_EQ(*std::max_element(places.begin(), places.end()), 1);
  }
}

TEST(OwnershipMapTest, ParametersBeginAligned) {
  for (const Case& c : cases()) {
    const OwnershipMap map(kNumels, c.num_ranks, c.policy);
    EXPECT_EQ(map.part_size() % 64, 0);
    for (size_t i = 0; i < kNumels.size(); ++i) EXPECT_EQ(map.flat_offset(static_cast<int64_t>(i)) % 64, 0);
  }
}

TEST(OwnershipMapTest, WholeMatrixCutsNothing) {
  for (const int num_ranks : {1, 2, 3, 8, 64}) {
    const OwnershipMap map(kNumels, num_ranks, ZeroPolicy::kWholeMatrix);
    for (int rank = 0; rank < num_ranks; ++rank) {
      for (const ParameterSlice& slice : map.slices(rank)) {
        EXPECT_EQ(slice.offset, 0);
        EXPECT_EQ(slice.count, kNumels[static_cast<size_t>(slice.parameter)]);
      }
    }
  }
}

TEST(OwnershipMapTest, WholeMatrixDealsTheLargestFirst) {
  const std::vector<int64_t> numels{64, 640, 320, 384};
  const OwnershipMap map(numels, 2, ZeroPolicy::kWholeMatrix);
  using Slices = std::vector<ParameterSlice>;  // rank 0: 640 + 64; rank 1: 384 + 320
  EXPECT_EQ(map.slices(0), (Slices{{0, 0, 64}, {1, 0, 640}}));
  EXPECT_EQ(map.slices(1), (Slices{{2, 0, 320}, {3, 0, 384}}));
  EXPECT_EQ(map.part_size(), 704);
}

TEST(OwnershipMapTest, FlatCutsInEqualPartsWithPadding) {
  const std::vector<int64_t> numels{100, 300};
  const OwnershipMap map(numels, 3, ZeroPolicy::kFlat);  // 128 + 320 elements in parts of 192
  using Slices = std::vector<ParameterSlice>;
  EXPECT_EQ(map.part_size(), 192);
  EXPECT_EQ(map.slices(0), (Slices{{0, 0, 100}, {1, 0, 64}}));
  EXPECT_EQ(map.slices(1), (Slices{{1, 64, 192}}));
  EXPECT_EQ(map.slices(2), (Slices{{1, 256, 44}}));
}

TEST(OwnershipMapTest, NoParametersIsAnEmptyMap) {
  for (const Case& c : cases()) {
    const OwnershipMap map({}, c.num_ranks, c.policy);
    EXPECT_EQ(map.flat_size(), 0);
    EXPECT_TRUE(map.slices(c.num_ranks - 1).empty());
  }
}

TEST(OwnershipMapTest, RefusesNegativeSizes) {
  const std::vector<int64_t> numels{3, -1};
  const auto error = [&](int num_ranks) {
    return test::error_of([&] { OwnershipMap(numels, num_ranks, ZeroPolicy::kFlat); });
  };
  EXPECT_NE(error(2).find("a parameter of -1 elements, wanted 0 or more"), std::string::npos) << error(2);
  EXPECT_NE(error(0).find("got 0 ranks, wanted at least 1"), std::string::npos) << error(0);
}

}  // namespace
}  // namespace engram
