#include <algorithm>
#include <array>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/device_info.h"
#include "kernels/elementwise.h"
#include "kernels/random_fill.h"
#include "kernels/row_gather.h"
#include "kernels/sum.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

// Tensors of more than 2^31 elements, where whatever counts them in 32 bits goes wrong. An element is a function of its
// number, so that the host makes the few that are compared: those at both ends and on both sides of element 2^31. Rows
// of 80 are moved 16 bytes at a time, rows of 81 element by element.
struct TwoBillionGpuTest : test::GpuFixture {
  static constexpr int64_t kElements = int64_t{1} << 31, kWindow = 16;

  static int64_t num_rows(int64_t width) { return kElements / width + 1000; }
  static std::array<int64_t, 3> windows(int64_t width) {
    return {0, kElements / width - kWindow / 2, num_rows(width) - kWindow};
  }
  static RandomFill values_from(uint32_t number, int64_t first_index) {
    return {.seed = 1,
            .domain = RandomDomain::kSampling,
            .tensor = number,
            .first_index = static_cast<uint64_t>(first_index)};
  }

  void SetUp() override {
    GpuFixture::SetUp();
    if (IsSkipped()) return;
    const int64_t wanted = int64_t{16} << 30, left = device_info(stream).memory_bytes - memory_in_use(stream);
    if (left < wanted) GTEST_SKIP() << "the card has " << left << " bytes left, of " << wanted;
  }

  // [num_rows(width), width]
  Tensor take(DType dtype, int64_t width) {
    memory.emplace_back(Device::kCuda, num_rows(width) * width * size_of(dtype));
    return memory.back().tensor(dtype, {num_rows(width), width});
  }
  Tensor random_rows(uint32_t number, int64_t width) {
    const Tensor rows = take(DType::kBFloat16, width);
    fill_normal(stream, rows, values_from(number, 0));
    return rows;
  }
  // Those rows of random_rows(number, width), by the host.
  Tensor rows_on_host(uint32_t number, int64_t width, int64_t begin) {
    const Tensor rows = host.take("rows", DType::kBFloat16, {kWindow, width});
    fill_normal(cpu, rows, values_from(number, begin * width));
    return rows;
  }
  Tensor poisoned_rows(int64_t width) {
    const Tensor rows = take(DType::kBFloat16, width);
    for (const int64_t begin : windows(width)) {
      copy(stream, poisoned(DType::kBFloat16, {kWindow, width}), rows.rows(begin, kWindow));
    }
    return rows;
  }

  std::vector<Buffer> memory;
};

TEST_F(TwoBillionGpuTest, FillAndAdd) {
  for (const int64_t width : {80, 81}) {
    memory.clear();
    const Tensor a = random_rows(1, width), b = random_rows(2, width), sum = poisoned_rows(width);
    add(stream, a, b, sum);
    for (const int64_t begin : windows(width)) {
      const auto window = [&](const Tensor& all) { return all.rows(begin, kWindow); };
      EXPECT_TRUE(test::same_bits(to_host(window(a)), rows_on_host(1, width, begin))) << "from row " << begin;
      const Tensor want = host.take("want", DType::kFloat64, {kWindow, width});
      add(cpu, download(window(a)), download(window(b)), want);
      EXPECT_LT(test::relative_error(download(window(sum)), want), bound(DType::kBFloat16)) << "from row " << begin;
    }
  }
}

// From a table as large as the result, its last row first.
TEST_F(TwoBillionGpuTest, RowGather) {
  for (const int64_t width : {80, 81}) {
    memory.clear();
    Arena::Scope host_scope(host), device_scope(*device);
    const int64_t rows = num_rows(width);
    const Tensor table = random_rows(1, width), out = poisoned_rows(width);
    const Tensor index = host.take("index", DType::kInt64, {rows});
    for (int64_t i = 0; i < rows; ++i) host_span<int64_t>(index)[static_cast<size_t>(i)] = rows - 1 - i;
    row_gather(stream, table, to_device(index), out);
    for (const int64_t begin : windows(width)) {
      const Tensor got = to_host(out.rows(begin, kWindow)), want = rows_on_host(1, width, rows - begin - kWindow);
      for (int64_t i = 0; i < kWindow; ++i) {
        EXPECT_TRUE(test::same_bits(got.rows(i, 1), want.rows(kWindow - 1 - i, 1))) << "row " << begin + i;
      }
    }
  }
}

// Ones in the windows, zeros elsewhere.
TEST_F(TwoBillionGpuTest, Sum) {
  for (const int64_t width : {80, 81}) {
    memory.clear();
    const Tensor x = take(DType::kFloat32, width), total = host.take("total", DType::kFloat64, {1});
    const Tensor ones = host.take("ones", DType::kFloat32, {kWindow, width});
    std::ranges::fill(host_span<float>(ones), 1.0f);
    zero(stream, x);
    for (const int64_t begin : windows(width)) copy(stream, ones, x.rows(begin, kWindow));
    zero(cpu, total);
    const Tensor got = to_device(total);
    sum(stream, x, got);
    EXPECT_EQ(test::element(to_host(got), 0), static_cast<double>(3 * kWindow * width));
  }
}

}  // namespace
}  // namespace engram
