#include "kernels/unique_rows.h"

#include <set>

#include "tests/testing.h"

namespace engram {
namespace {

struct UniqueRowsTest : test::CpuFixture {
  struct Result {
    std::vector<int64_t> unique, inverse;
    std::vector<int32_t> order, offsets;
  };
  Result unique_of(const std::vector<int64_t>& keys) {
    const int64_t n = std::ssize(keys);
    const Tensor unique = arena.take("unique", DType::kInt64, {n}), inverse = arena.take("inverse", DType::kInt64, {n});
    const Tensor count = arena.take("count", DType::kInt64, {1});
    const RowSegments segments{.order = arena.take("order", DType::kInt32, {n}),
                               .offsets = arena.take("offsets", DType::kInt32, {n + 1})};
    unique_rows(stream, test::tensor_of<int64_t>(arena, keys, {n}), INT64_MAX, unique, inverse, segments, count);
    const auto num_unique = static_cast<size_t>(host_span<int64_t>(count)[0]);
    const auto first = host_span<int64_t>(unique).first(num_unique);
    const auto places = host_span<int64_t>(inverse);
    const auto order = host_span<int32_t>(segments.order);
    const auto offsets = host_span<int32_t>(segments.offsets).first(num_unique + 1);
    return {{first.begin(), first.end()},
            {places.begin(), places.end()},
            {order.begin(), order.end()},
            {offsets.begin(), offsets.end()}};
  }
};

TEST_F(UniqueRowsTest, KeysAreSortedAndFoundAgain) {
  std::vector<int64_t> many;
  for (uint64_t i = 0; i < 5000; ++i) many.push_back(static_cast<int64_t>(philox(3, i, 0).word[0] % 700) << 33);
  const int64_t last = INT64_MAX - 1;
  for (const auto& keys : std::vector<std::vector<int64_t>>{{}, {7}, {-1}, {5, 5, 5}, {3, -1, 3, 0, last, -1}, many}) {
    Result got = unique_of(keys);
    std::set<int64_t> want(keys.begin(), keys.end());
    want.erase(-1);
    EXPECT_EQ(got.unique, (std::vector<int64_t>{want.begin(), want.end()}));
    for (size_t i = 0; i < keys.size(); ++i) {
      const int64_t place = got.inverse[i];
      EXPECT_EQ(place < 0 ? -1 : got.unique.at(static_cast<size_t>(place)), keys[i]);
    }
    std::vector<int32_t> want_order, want_offsets{0};
    for (const int64_t key : want) {
      for (size_t i = 0; i < keys.size(); ++i) {
        if (keys[i] == key) want_order.push_back(static_cast<int32_t>(i));
      }
      want_offsets.push_back(static_cast<int32_t>(want_order.size()));
    }
    got.order.resize(want_order.size());  // the rest belongs to -1
    EXPECT_EQ(got.order, want_order);
    EXPECT_EQ(got.offsets, want_offsets);
  }
}

TEST_F(UniqueRowsTest, RefusesTensorsThatDoNotFit) {
  const Tensor keys = arena.take("keys", DType::kInt64, {4}), count = arena.take("count", DType::kInt64, {2});
  const RowSegments segments{.order = arena.take("order", DType::kInt32, {4}),
                             .offsets = arena.take("offsets", DType::kInt32, {5})};
  const std::string message = test::error_of([&] { unique_rows(stream, keys, 9, keys, keys, segments, count); });
  EXPECT_NE(message.find("count: got int64 [2], wanted int64 [1]"), std::string::npos) << message;
}

}  // namespace
}  // namespace engram
