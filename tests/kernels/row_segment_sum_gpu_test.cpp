#include "kernels/row_segment_sum.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RowSegmentSumGpuTest : test::GpuFixture {
  // Rows of very different frequency, as tokens have, and -1.
  Tensor skewed_index(int64_t count, int64_t num_rows) {
    const Tensor index = host.take("index", DType::kInt64, {count});
    for (int64_t i = 0; i < count; ++i) {
      const Random128 random = philox(1, static_cast<uint64_t>(i), 0);
      const auto range = random.word[0] % 2 == 0 ? uint64_t{2} : static_cast<uint64_t>(num_rows + 1);
      static_cast<int64_t*>(index.data)[i] = static_cast<int64_t>(random.word[1] % range) - 1;
    }
    return index;
  }

  void compare(DType dtype, int64_t count, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const Tensor values = rounded(test::random_tensor<double>(host, 2, {count, width}), dtype);
    const Tensor want = rounded(test::random_tensor<double>(host, 3, {num_rows, width}), wide);
    const Tensor index = skewed_index(count, num_rows), sums = upload(want, wide);
    row_segment_sum(stream, upload(values, dtype), to_device(index), sums);
    row_segment_sum(cpu, values, index, want);
    EXPECT_LT(relative_error(download(sums), want), 4 * bound(wide)) << count << " " << num_rows << " " << width;
  }
};

TEST_F(RowSegmentSumGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t count : {0, 1, 7, 1000}) {
      for (const int64_t width : {0, 1, 33, 80}) {
        compare(dtype, count, 1, width);
        compare(dtype, count, 50, width);
      }
    }
  }
}

TEST_F(RowSegmentSumGpuTest, AddsInTheOrderOfTheCpuForm) {
  constexpr int64_t kCount = 5000, kRows = 40, kWidth = 65;
  const Tensor values = test::random_tensor<float>(host, 2, {kCount, kWidth});
  const Tensor want = test::random_tensor<float>(host, 3, {kRows, kWidth});
  const Tensor index = skewed_index(kCount, kRows), sums = to_device(want);
  row_segment_sum(stream, to_device(values), to_device(index), sums);
  row_segment_sum(cpu, values, index, want);
  EXPECT_TRUE(test::same_bits(to_host(sums), want));
}

}  // namespace
}  // namespace engram
