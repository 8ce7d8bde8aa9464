#include "kernels/row_gather.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct RowGatherGpuTest : test::GpuFixture {
  // Numbers in [-1, num_rows), -1 among them.
  Tensor random_index(int64_t count, int64_t num_rows) {
    const Tensor index = host.take("index", DType::kInt64, {count});
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t word = philox(5, static_cast<uint64_t>(i), 0).word[0];
      host_span<int64_t>(index)[static_cast<size_t>(i)] =
          static_cast<int64_t>(word % static_cast<uint64_t>(num_rows + 1)) - 1;
    }
    return index;
  }

  // Bit for bit what the CPU form gathers from the same values.
  void compare(DType dtype, int64_t num_rows, int64_t count, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor rows = test::random_tensor<double>(host, 1, {num_rows, width});
    const Tensor index = random_index(count, num_rows);
    const Tensor out = poisoned(dtype, {count, width}), want = host.take("out", DType::kFloat64, {count, width});
    row_gather(stream, upload(rows, dtype), to_device(index), out);
    row_gather(cpu, rounded(rows, dtype), index, want);
    EXPECT_TRUE(test::same_bits(download(out), want)) << num_rows << " " << count << " " << width;
  }
};

TEST_F(RowGatherGpuTest, MovesTheSameBitsAsTheCpuForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t width : {0, 1, 7, 80, 131, 1280}) {
      compare(dtype, 57, 0, width);
      compare(dtype, 0, 3, width);
      compare(dtype, 1, 1, width);
      compare(dtype, 57, 1001, width);
    }
  }
}

TEST_F(RowGatherGpuTest, RoundsAsTheCpuFormDoes) {
  for (const int64_t width : {1, 7, 80, 128, 1280}) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor rows = test::random_tensor<float>(host, 1, {57, width});
    const Tensor index = random_index(1001, 57);
    const Tensor out = poisoned(DType::kBFloat16, {1001, width});
    const Tensor want = host.take("out", DType::kBFloat16, {1001, width});
    row_gather(stream, to_device(rows), to_device(index), out);
    row_gather(cpu, rows, index, want);
    EXPECT_TRUE(test::same_bits(to_host(out), want)) << width;
  }
}

TEST_F(RowGatherGpuTest, RowsThatAreNotAlignedAreGatheredToo) {
  const Tensor rows = test::random_tensor<double>(host, 1, {9, 4});
  const Tensor memory = upload(rows.reshape({36}), DType::kFloat32);
  const Tensor shifted = memory.rows(1, 32).reshape({8, 4});  // 4 bytes past a multiple of 16
  const Tensor index = random_index(20, 8);
  const Tensor out = poisoned(DType::kFloat32, {20, 4}), want = host.take("out", DType::kFloat64, {20, 4});
  row_gather(stream, shifted, to_device(index), out);
  row_gather(cpu, download(shifted), index, want);
  EXPECT_TRUE(test::same_bits(download(out), want));
}

}  // namespace
}  // namespace engram
