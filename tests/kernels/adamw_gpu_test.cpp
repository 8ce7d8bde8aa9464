#include "kernels/adamw.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct AdamWGpuTest : test::GpuFixture {
  void compare(DType dtype, int64_t count) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor weight = test::random_tensor<double>(host, 1, {count}),
                 zero = test::constant_tensor(host, 0.0, {count});
    const Tensor device_weight = upload(weight, dtype), device_m = upload(zero, dtype), device_v = upload(zero, dtype);
    const Tensor want = rounded(weight, dtype), want_m = rounded(zero, dtype), want_v = rounded(zero, dtype);
    for (int64_t step = 1; step <= 5; ++step) {
      const AdamWOptions options{.learning_rate = 1e-2, .eps = 1e-8, .grad_scale = 0.25, .step = step};
      const Tensor grad = test::random_tensor<double>(host, 100 + static_cast<uint64_t>(step), {count}, 0.1);
      adamw_update(stream, options, device_weight, upload(grad, dtype), device_m, device_v);
      adamw_update(cpu, options, want, rounded(grad, dtype), want_m, want_v);
    }
    EXPECT_LT(relative_error(download(device_weight), want), bound(dtype));
    EXPECT_LT(relative_error(download(device_m), want_m), bound(dtype));
    EXPECT_LT(relative_error(download(device_v), want_v), bound(dtype));
  }
};

TEST_F(AdamWGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const int64_t count : {0, 1, 255, 10'007}) compare(dtype, count);
  }
}

}  // namespace
}  // namespace engram
