#include "kernels/rms_norm.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RmsNormGpuTest : test::GpuFixture {
  static constexpr double kEps = 1e-6;

  // The CUDA form in `dtype` against the double CPU form, with and without what is optional.
  void compare(DType dtype, int64_t num_rows, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const DType wide = accumulator(dtype);
    const auto random = [&](uint64_t seed, std::initializer_list<int64_t> shape) {
      return test::random_tensor<double>(host, seed, shape);
    };
    const Tensor x = random(1, {num_rows, width}), delta = random(2, {num_rows, width}), weight = random(3, {width});
    const Tensor dy = random(4, {num_rows, width}), dsum = random(5, {num_rows, width});
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };

    const Tensor sum = poisoned(dtype, {num_rows, width}), y = poisoned(dtype, {num_rows, width});
    const Tensor inv_rms = poisoned(wide, {num_rows});
    const Tensor want_sum = take({num_rows, width}), want_y = take({num_rows, width}), want_inv_rms = take({num_rows});
    const Tensor device_weight = upload(weight, dtype), host_weight = rounded(weight, dtype);
    add_rms_norm_forward(stream, upload(x, dtype), upload(delta, dtype), device_weight, kEps, sum, y, inv_rms);
    add_rms_norm_forward(cpu, rounded(x, dtype), rounded(delta, dtype), host_weight, kEps, want_sum, want_y,
                         want_inv_rms);
    EXPECT_LT(relative_error(download(sum), want_sum), bound(dtype));
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));
    EXPECT_LT(relative_error(download(inv_rms), want_inv_rms), bound(dtype));

    const Tensor dx = poisoned(dtype, {num_rows, width}), want_dx = take({num_rows, width});
    const Tensor dweight = upload(test::constant_tensor(host, 0.5, {width}), wide);
    const Tensor want_dweight = test::constant_tensor(host, 0.5, {width});
    rms_norm_backward(stream, sum, device_weight, inv_rms, upload(dy, dtype), upload(dsum, dtype), dx, dweight);
    rms_norm_backward(cpu, download(sum), host_weight, download(inv_rms), rounded(dy, dtype), rounded(dsum, dtype),
                      want_dx, want_dweight);
    // With one column dx is the difference of two equal terms, and rounding is all that is left of it.
    if (width > 1) {
      EXPECT_LT(relative_error(download(dx), want_dx), bound(dtype));
    }
    EXPECT_LT(relative_error(download(dweight), want_dweight), bound(dtype));
  }
};

TEST_F(RmsNormGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_rows : {0, 1, 7, 130}) {
      for (const int64_t width : {1, 131, 200, 768, 1000, 2048, 2560}) compare(dtype, num_rows, width);
    }
    // More rows than are worked on at once.
    compare(dtype, 9001, 64);
    compare(dtype, 1700, 520);
    compare(dtype, 800, 1200);
  }
}

TEST_F(RmsNormGpuTest, TwoRunsGiveTheSameBits) {
  for (const int64_t width : {512, 515}) {
    const Tensor x = upload(test::random_tensor<double>(host, 1, {3000, width}), DType::kFloat32);
    const Tensor weight = upload(test::random_tensor<double>(host, 2, {width}), DType::kFloat32);
    const Tensor y = poisoned(DType::kFloat32, {3000, width}), inv_rms = poisoned(DType::kFloat32, {3000});
    rms_norm_forward(stream, x, weight, kEps, y, inv_rms);
    Tensor sums[2];
    for (Tensor& dweight : sums) {
      dweight = upload(test::constant_tensor(host, 0.0, {width}), DType::kFloat32);
      rms_norm_backward(stream, x, weight, inv_rms, y, {}, poisoned(DType::kFloat32, {3000, width}), dweight);
    }
    EXPECT_TRUE(test::same_bits(download(sums[0]), download(sums[1])));
  }
}

TEST_F(RmsNormGpuTest, DxMayOverwriteDyOrDsum) {
  for (const int64_t width : {512, 515}) {
    const Tensor x = upload(test::random_tensor<double>(host, 1, {50, width}), DType::kBFloat16);
    const Tensor dy = upload(test::random_tensor<double>(host, 2, {50, width}), DType::kBFloat16);
    const Tensor dsum = upload(test::random_tensor<double>(host, 3, {50, width}), DType::kBFloat16);
    const Tensor weight = upload(test::random_tensor<double>(host, 4, {width}), DType::kBFloat16);
    const Tensor inv_rms = upload(test::constant_tensor(host, 0.9, {50}), DType::kFloat32);
    const Tensor dweight = upload(test::constant_tensor(host, 0.0, {width}), DType::kFloat32);
    const Tensor want = poisoned(DType::kBFloat16, {50, width});
    rms_norm_backward(stream, x, weight, inv_rms, dy, dsum, want, dweight);
    const Tensor over_dy = to_device(to_host(dy));
    rms_norm_backward(stream, x, weight, inv_rms, over_dy, dsum, over_dy, dweight);
    EXPECT_TRUE(test::same_bits(to_host(over_dy), to_host(want)));
    rms_norm_backward(stream, x, weight, inv_rms, dy, dsum, dsum, dweight);
    EXPECT_TRUE(test::same_bits(to_host(dsum), to_host(want)));
  }
}

}  // namespace
}  // namespace engram
