#include "kernels/unique_rows.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct UniqueRowsGpuTest : test::GpuFixture {
  // `distinct` different keys at most, spread over [0, end), and -1 about once in nine.
  void compare(int64_t count, int64_t distinct, int64_t end) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor keys = host.take("keys", DType::kInt64, {count});
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t which = philox(1, static_cast<uint64_t>(i), 0).word[0] % static_cast<uint64_t>(distinct);
      const Random128 key = philox(2, which, 0);
      const uint64_t bits = uint64_t{key.word[0]} << 32 | key.word[1];
      static_cast<int64_t*>(keys.data)[i] =
          key.word[2] % 9 == 0 ? -1 : static_cast<int64_t>(bits % static_cast<uint64_t>(end));
    }
    const Tensor unique = poisoned(DType::kInt64, {count}), inverse = poisoned(DType::kInt64, {count});
    const Tensor number = poisoned(DType::kInt64, {1});
    const Tensor want_unique = host.take("unique", DType::kInt64, {count});
    const Tensor want_inverse = host.take("inverse", DType::kInt64, {count});
    const Tensor want_number = host.take("count", DType::kInt64, {1});
    const RowSegments segments{.order = poisoned(DType::kInt32, {count}),
                               .offsets = poisoned(DType::kInt32, {count + 1})};
    const RowSegments want_segments{.order = host.take("order", DType::kInt32, {count}),
                                    .offsets = host.take("offsets", DType::kInt32, {count + 1})};
    unique_rows(stream, to_device(keys), end, unique, inverse, segments, number);
    unique_rows(cpu, keys, end, want_unique, want_inverse, want_segments, want_number);
    ASSERT_TRUE(test::same_bits(to_host(number), want_number)) << count << " " << distinct;
    EXPECT_TRUE(test::same_bits(to_host(inverse), want_inverse)) << count << " " << distinct;
    const int64_t used = host_span<int64_t>(want_number)[0];
    EXPECT_TRUE(test::same_bits(to_host(unique.rows(0, used)), want_unique.rows(0, used))) << count << " " << distinct;
    const Tensor offsets = to_host(segments.offsets.rows(0, used + 1));
    ASSERT_TRUE(test::same_bits(offsets, want_segments.offsets.rows(0, used + 1))) << count << " " << distinct;
    const int64_t num_kept = host_span<int32_t>(offsets)[static_cast<size_t>(used)];
    const Tensor order = to_host(segments.order.rows(0, num_kept));
    EXPECT_TRUE(test::same_bits(order, want_segments.order.rows(0, num_kept))) << count << " " << distinct;
  }
};

TEST_F(UniqueRowsGpuTest, GivesWhatTheCpuFormGives) {
  for (const int64_t end : {int64_t{1}, int64_t{255}, int64_t{256}, int64_t{1'000'003}, (int64_t{1} << 32) - 1,
                            int64_t{1} << 32, INT64_MAX}) {
    for (const int64_t count : {0, 1, 2, 33, 1000, 100'003}) {
      for (const int64_t distinct : {1, 2, 700, 1'000'000}) compare(count, distinct, end);
    }
  }
}

}  // namespace
}  // namespace engram
