#include "kernels/rope.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RopeGpuTest : test::GpuFixture {
  void compare(DType dtype, int64_t seq, int64_t heads, int64_t head_dim) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const int64_t positions = seq + 3;
    const Tensor table = poisoned(wide, {positions, head_dim / 2, 2});
    const Tensor want_table = host.take("table", DType::kFloat64, {positions, head_dim / 2, 2});
    rope_table(stream, 1e4, table);
    rope_table(cpu, 1e4, want_table);
    EXPECT_LT(relative_error(download(table), want_table), bound(wide));

    const Tensor x = test::random_tensor<double>(host, 1, {2, seq, heads, head_dim});
    const Tensor device_x = upload(x, dtype), y = poisoned(dtype, {2, seq, heads, head_dim});
    const Tensor want = host.take("want", DType::kFloat64, {2, seq, heads, head_dim});
    rope_forward(stream, device_x, table, y);
    rope_forward(cpu, rounded(x, dtype), want_table, want);
    EXPECT_LT(relative_error(download(y), want), bound(dtype));

    rope_backward(stream, device_x, table.rows(2, seq), device_x);  // from position 2 on, in place
    rope_backward(cpu, rounded(x, dtype), want_table.rows(2, seq), want);
    EXPECT_LT(relative_error(download(device_x), want), bound(dtype));
  }
};

TEST_F(RopeGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t seq : {0, 1, 67}) {
      for (const int64_t heads : {1, 3}) {
        for (const int64_t head_dim : {2, 6, 64}) compare(dtype, seq, heads, head_dim);
      }
    }
  }
}

}  // namespace
}  // namespace engram
