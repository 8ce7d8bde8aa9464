#include "kernels/row_segment_sum.h"

#include "tests/gpu_testing.h"
#include "tests/kernels/row_segments_testing.h"

namespace engram {
namespace {

using test::relative_error;

// The order that the contract tells: values of a row in turn, but from the 65th on 64 at a time.
void add_in_runs(const Tensor& values, const Tensor& index, const Tensor& sums) {
  const int64_t width = values.size(1);
  std::vector<std::vector<int64_t>> of_row(static_cast<size_t>(sums.size(0)));
  for (int64_t i = 0; i < index.size(0); ++i) {
    const int64_t row = host_span<int64_t>(index)[static_cast<size_t>(i)];
    if (row >= 0) of_row[static_cast<size_t>(row)].push_back(i);
  }
  for (int64_t element = 0; element < sums.numel(); ++element) {
    const std::vector<int64_t>& members = of_row[static_cast<size_t>(element / width)];
    float& sum = host_span<float>(sums)[static_cast<size_t>(element)];
    float run = 0;
    sum = 0;
    for (size_t k = 0; k < members.size(); ++k) {
      float& total = k < 64 ? sum : run;
      total += host_span<float>(values)[static_cast<size_t>(members[k] * width + element % width)];
      if (k < 64 || (k % 64 != 63 && k + 1 != members.size())) continue;
      sum += run;
      run = 0;
    }
  }
}

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

  RowSegments to_device(const RowSegments& segments) {
    return {.order = GpuFixture::to_device(segments.order), .offsets = GpuFixture::to_device(segments.offsets)};
  }

  void compare(DType dtype, int64_t count, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const Tensor values = rounded(test::random_tensor<double>(host, 2, {count, width}), dtype);
    const Tensor want = host.take("want", DType::kFloat64, {num_rows, width});
    const RowSegments segments = test::segments_of(host, skewed_index(count, num_rows), num_rows);
    const Tensor sums = poisoned(wide, {num_rows, width});
    row_segment_sum(stream, upload(values, dtype), to_device(segments), sums);
    row_segment_sum(cpu, values, segments, want);
    EXPECT_LT(relative_error(download(sums), want), 4 * bound(wide)) << count << " " << num_rows << " " << width;
  }

  void expect_contract(const Tensor& index, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor values = test::random_tensor<float>(host, 2, {index.size(0), width});
    const Tensor want = host.take("want", DType::kFloat32, {num_rows, width});
    const Tensor sums = poisoned(DType::kFloat32, {num_rows, width});
    const RowSegments segments = test::segments_of(host, index, num_rows);
    row_segment_sum(stream, GpuFixture::to_device(values), to_device(segments), sums);
    add_in_runs(values, index, want);
    EXPECT_TRUE(test::same_bits(to_host(sums), want)) << index.size(0) << " " << num_rows << " " << width;
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

TEST_F(RowSegmentSumGpuTest, AddsInTheOrderOfTheContract) {
  for (const int64_t count : {64, 65, 128, 129, 5000, 100'003}) {
    for (const int64_t width : {3, 80}) expect_contract(skewed_index(count, 40), 40, width);
  }
}

// Rows of as many values as fill a run, one more or one less; rows of none between them, first and last.
TEST_F(RowSegmentSumGpuTest, RowsOfAnyLengthMayLieSideBySide) {
  constexpr int64_t kLengths[] = {0,   1,   0,   63, 64, 65, 0,  0,   7,   8,   9, 1,
                                  127, 128, 129, 2,  15, 16, 17, 191, 192, 193, 0};
  std::vector<int64_t> members;
  int64_t num_rows = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (const int64_t length : kLengths) {
      if (length % 3 != repeat) members.insert(members.end(), static_cast<size_t>(length), num_rows);
      ++num_rows;
    }
  }
  for (size_t i = members.size(); i > 1; --i) std::swap(members[i - 1], members[philox(3, i, 0).word[0] % i]);
  const Tensor index = test::tensor_of(host, members, {static_cast<int64_t>(members.size())});
  for (const int64_t width : {1, 33, 64, 80, 128, 1028}) expect_contract(index, num_rows, width);
}

// Rows of about as many runs as are on their way at once when they are folded.
TEST_F(RowSegmentSumGpuTest, FoldsAnyNumberOfRuns) {
  std::vector<int64_t> members;
  int64_t num_rows = 0;
  for (const int64_t num_runs : {2, 9, 16, 17, 25, 48, 49, 50, 64, 65}) {
    for (const int64_t more : {-1, 0, 1}) {
      members.insert(members.end(), static_cast<size_t>(64 * num_runs + more), num_rows++);
    }
  }
  const Tensor index = test::tensor_of(host, members, {static_cast<int64_t>(members.size())});
  for (const int64_t width : {3, 80, 260}) expect_contract(index, num_rows, width);
}

TEST_F(RowSegmentSumGpuTest, RowsWithoutValuesAreZero) {
  constexpr int64_t kRows = 1000;
  for (const int64_t count : {0, 100}) {
    std::vector<int64_t> members(static_cast<size_t>(count), -1);
    if (count > 0) members[50] = kRows / 2;
    expect_contract(test::tensor_of(host, members, {count}), kRows, 20);
  }
}

TEST_F(RowSegmentSumGpuTest, AddsUpARowThatAllAskFor) {
  constexpr int64_t kCount = 1'000'000;
  expect_contract(test::tensor_of(host, std::vector<int64_t>(kCount, 1), {kCount}), 3, 4);
}

TEST_F(RowSegmentSumGpuTest, UpTo64ValuesOfARowAddUpAsOnTheCpu) {
  constexpr int64_t kRows = 1000, kWidth = 65;
  const Tensor values = test::random_tensor<float>(host, 2, {64 * kRows, kWidth});
  const Tensor want = host.take("want", DType::kFloat32, {kRows, kWidth});
  const Tensor sums = poisoned(DType::kFloat32, {kRows, kWidth});
  const Tensor index = host.take("index", DType::kInt64, {64 * kRows});
  for (int64_t i = 0; i < index.size(0); ++i) static_cast<int64_t*>(index.data)[i] = i * 7919 % kRows;
  const RowSegments segments = test::segments_of(host, index, kRows);
  row_segment_sum(stream, GpuFixture::to_device(values), to_device(segments), sums);
  row_segment_sum(cpu, values, segments, want);
  EXPECT_TRUE(test::same_bits(to_host(sums), want));
}

}  // namespace
}  // namespace engram
