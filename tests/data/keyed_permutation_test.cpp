#include "data/keyed_permutation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace engram {
namespace {

std::vector<uint64_t> permutation(uint64_t seed, uint32_t stream, uint64_t size) {
  std::vector<uint64_t> image(size);
  for (uint64_t i = 0; i < size; ++i) image[i] = keyed_permutation(seed, stream, i, size);
  return image;
}

TEST(KeyedPermutation, IsABijectionForEverySize) {
  std::vector<uint64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 1);
  for (const uint64_t size : {1023, 1024, 1025, 4096, 4097, 65535, 65537, 100003}) sizes.push_back(size);
  for (const uint64_t size : sizes) {
    std::vector<bool> seen(size);
    for (const uint64_t value : permutation(7, 3, size)) {
      ASSERT_LT(value, size);
      ASSERT_FALSE(seen[value]) << value << " twice in a permutation of " << size;
      seen[value] = true;
    }
  }
}

TEST(KeyedPermutation, DiffersBySeedAndStream) {
  const auto base = permutation(1, 0, 1000);
  EXPECT_EQ(base, permutation(1, 0, 1000));
  EXPECT_NE(base, permutation(2, 0, 1000));
  EXPECT_NE(base, permutation(1, 1, 1000));
  EXPECT_NE(base, permutation(uint64_t{1} << 40, 0, 1000));
  EXPECT_NE(base, permutation(1, kDocumentStream, 1000));
}

// Where index 0 to 9 land, over many streams, is uniform: chi-square of 100 cells stays below its 99.9 % point (148.2).
TEST(KeyedPermutation, SpreadsEveryIndexEvenly) {
  constexpr uint64_t kSize = 10;
  constexpr uint32_t kStreams = 10000;
  double chi_square = 0;
  for (uint64_t index = 0; index < kSize; ++index) {
    std::vector<int64_t> count(kSize);
    for (uint32_t stream = 0; stream < kStreams; ++stream) ++count[keyed_permutation(5, stream, index, kSize)];
    for (const int64_t c : count) chi_square += (c - 1000.0) * (c - 1000.0) / 1000.0;
  }
  EXPECT_LT(chi_square, 148.2);
}

// Neighbours are not kept together: among 10^5 pairs, about one follows its predecessor by chance.
TEST(KeyedPermutation, KeepsNoNeighboursTogether) {
  const auto image = permutation(9, 0, 100000);
  int64_t num_kept = 0;
  for (size_t i = 1; i < image.size(); ++i) num_kept += image[i] == image[i - 1] + 1;
  EXPECT_LT(num_kept, 10);
}

TEST(KeyedPermutation, WorksOnTheLargestDomain) {
  const uint64_t size = (uint64_t{1} << 62) - 57;
  EXPECT_LT(keyed_permutation(3, 0, size - 1, size), size);
  EXPECT_NE(keyed_permutation(3, 0, 0, size), keyed_permutation(3, 0, 1, size));
}

// Frozen: a run that resumes under a newer program must see its old order.
TEST(KeyedPermutation, KeepsItsValues) {
  EXPECT_EQ(permutation(42, 0, 12), (std::vector<uint64_t>{0, 4, 2, 11, 5, 9, 7, 3, 10, 6, 8, 1}));
}

}  // namespace
}  // namespace engram
