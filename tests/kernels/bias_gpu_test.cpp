#include "kernels/bias.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct BiasGpuTest : test::GpuFixture {
  // The CUDA form in `dtype` against the double CPU form.
  void compare(DType dtype, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor x = test::random_tensor<double>(host, 1, {num_rows, width});
    const Tensor bias = test::random_tensor<double>(host, 2, {width});
    const Tensor y = poisoned(dtype, {num_rows, width}), want_y = host.take("y", DType::kFloat64, {num_rows, width});
    add_bias_forward(stream, upload(x, dtype), upload(bias, dtype), y);
    add_bias_forward(cpu, rounded(x, dtype), rounded(bias, dtype), want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));

    const Tensor dbias = upload(bias, accumulator(dtype)), want_dbias = rounded(bias, accumulator(dtype));
    add_bias_backward(stream, upload(x, dtype), dbias);
    add_bias_backward(cpu, rounded(x, dtype), want_dbias);
    EXPECT_LT(relative_error(download(dbias), want_dbias), bound(dtype));
  }
};

TEST_F(BiasGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_rows : {0, 1, 7, 130}) {
      for (const int64_t width : {0, 1, 33, 771}) compare(dtype, num_rows, width);
    }
  }
}

TEST_F(BiasGpuTest, TwoRunsGiveTheSameBits) {
  const Tensor dy = upload(test::random_tensor<double>(host, 1, {1000, 515}), DType::kFloat32);
  Tensor sums[2];
  for (Tensor& dbias : sums) {
    dbias = upload(test::constant_tensor(host, 0.0, {515}), DType::kFloat32);
    add_bias_backward(stream, dy, dbias);
  }
  EXPECT_TRUE(test::same_bits(to_host(sums[0]), to_host(sums[1])));
}

}  // namespace
}  // namespace engram
