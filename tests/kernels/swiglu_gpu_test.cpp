#include "kernels/swiglu.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct SwigluGpuTest : test::GpuFixture {
  // The CUDA form in `dtype` against the double CPU form.
  void compare(DType dtype, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor gate_up = test::random_tensor<double>(host, 1, {num_rows, 2 * width}, 3.0);
    const Tensor dy = test::random_tensor<double>(host, 2, {num_rows, width});
    const Tensor y = poisoned(dtype, {num_rows, width}), want_y = host.take("y", DType::kFloat64, {num_rows, width});
    const Tensor on_device = upload(gate_up, dtype), on_host = rounded(gate_up, dtype);
    swiglu_forward(stream, on_device, y);
    swiglu_forward(cpu, on_host, want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));

    const Tensor dgate_up = poisoned(dtype, {num_rows, 2 * width});
    const Tensor want_dgate_up = host.take("dgate_up", DType::kFloat64, {num_rows, 2 * width});
    swiglu_backward(stream, on_device, upload(dy, dtype), dgate_up);
    swiglu_backward(cpu, on_host, rounded(dy, dtype), want_dgate_up);
    EXPECT_LT(relative_error(download(dgate_up), want_dgate_up), bound(dtype));

    swiglu_backward(stream, on_device, upload(dy, dtype), on_device);  // dgate_up may be gate_up
    EXPECT_TRUE(test::same_bits(to_host(on_device), to_host(dgate_up)));
  }
};

TEST_F(SwigluGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_rows : {0, 1, 7, 130}) {
      for (const int64_t width : {0, 1, 131, 1408}) compare(dtype, num_rows, width);
    }
  }
}

TEST_F(SwigluGpuTest, LargeGatesNeitherOverflowNorTurnIntoNan) {
  const Tensor gate_up = test::tensor_of<double>(host, {-1e4, 1e4, -90, 90, 2, 2, 2, 2}, {1, 8});
  const Tensor y = poisoned(DType::kFloat32, {1, 4});
  swiglu_forward(stream, upload(gate_up, DType::kFloat32), y);
  const Tensor got = download(y);
  EXPECT_EQ(test::element(got, 0), 0);
  EXPECT_EQ(test::element(got, 1), 2e4);
  EXPECT_NEAR(test::element(got, 2), 0, 1e-30);
  EXPECT_EQ(test::element(got, 3), 180);
}

}  // namespace
}  // namespace engram
