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

  void compare_weighted(DType dtype, int64_t num_tokens, int64_t top_k, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const int64_t num_rows = num_tokens * top_k;
    const Tensor gate_up = rounded(test::random_tensor<double>(host, 1, {num_rows, 2 * width}, 3.0), dtype);
    const Tensor dy = rounded(test::random_tensor<double>(host, 2, {num_rows, width}), dtype);
    const DType wide = accumulator(dtype);
    const Tensor weight = rounded(test::random_tensor<double>(host, 3, {num_tokens, top_k}), wide);
    const Tensor choice = host.take("choice", DType::kInt64, {num_rows});
    for (int64_t i = 0; i < num_rows; ++i) host_span<int64_t>(choice)[static_cast<size_t>(i)] = num_rows - 1 - i;
    const Tensor on_device = upload(gate_up, dtype), device_weight = upload(weight, wide);
    const Tensor device_choice = to_device(choice), y = poisoned(dtype, {num_rows, width});
    const Tensor want_y = host.take("y", DType::kFloat64, {num_rows, width});
    weighted_swiglu_forward(stream, on_device, device_weight, device_choice, y);
    weighted_swiglu_forward(cpu, gate_up, weight, choice, want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));

    const Tensor dweight = poisoned(wide, {num_tokens, top_k});
    const Tensor want_dweight = host.take("dweight", DType::kFloat64, {num_tokens, top_k});
    const Tensor want_dgate_up = host.take("dgate_up", DType::kFloat64, {num_rows, 2 * width});
    weighted_swiglu_backward(cpu, gate_up, weight, choice, dy, want_dgate_up, want_dweight);
    for (const Tensor& d : {poisoned(dtype, {num_rows, 2 * width}), on_device}) {  // dgate_up may be gate_up
      weighted_swiglu_backward(stream, on_device, device_weight, device_choice, upload(dy, dtype), d, dweight);
      EXPECT_LT(relative_error(download(d), want_dgate_up), bound(dtype));
      EXPECT_LT(relative_error(download(dweight), want_dweight), 10 * bound(wide));
    }
  }
};

TEST_F(SwigluGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_rows : {0, 1, 7, 130}) {
      for (const int64_t width : {0, 1, 131, 192, 384, 1408}) compare(dtype, num_rows, width);
    }
  }
}

TEST_F(SwigluGpuTest, WeightsRowsLikeTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_tokens : {0, 1, 33}) {
      for (const int64_t width : {1, 131, 192, 256, 384, 1408}) compare_weighted(dtype, num_tokens, 3, width);
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

  const Tensor wide = poisoned(DType::kBFloat16, {1, 8});
  const std::vector<double> gates = {-1e30, -90, -88, -87, 1e30, 90, 88, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  swiglu_forward(stream, upload(test::tensor_of<double>(host, gates, {1, 16}), DType::kBFloat16), wide);
  const Tensor got_wide = download(wide);
  for (int64_t i = 0; i < 4; ++i) EXPECT_NEAR(test::element(got_wide, i), 0, 1e-30) << i;
  for (int64_t i = 4; i < 7; ++i) EXPECT_NEAR(test::element(got_wide, i) / gates[static_cast<size_t>(i)], 1, 5e-3) << i;
}

}  // namespace
}  // namespace engram
