#include "kernels/elementwise.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ElementwiseGpuTest : test::GpuFixture {
  void compare(DType dtype, int64_t count) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor a = test::random_tensor<double>(host, 1, {count, 3}),
                 b = test::random_tensor<double>(host, 2, {count, 3});
    const Tensor device_a = upload(a, dtype), host_a = rounded(a, dtype);
    const Tensor want = host.take("want", DType::kFloat64, {count, 3});

    const Tensor sum = poisoned(dtype, {count, 3});
    add(stream, device_a, upload(b, dtype), sum);
    add(cpu, host_a, rounded(b, dtype), want);
    EXPECT_LT(relative_error(download(sum), want), bound(dtype));

    const Tensor total = upload(b, accumulator(dtype)), want_total = rounded(b, accumulator(dtype));
    accumulate(stream, device_a, total);
    accumulate(cpu, host_a, want_total);
    EXPECT_LT(relative_error(download(total), want_total), bound(accumulator(dtype)));

    scale(stream, 0.3, device_a, device_a);  // in place
    scale(cpu, 0.3, host_a, want);
    EXPECT_LT(relative_error(download(device_a), want), bound(dtype));
  }
};

TEST_F(ElementwiseGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t count : {0, 1, 85, 86, 4096, 100'003}) compare(dtype, count);
  }
}

TEST_F(ElementwiseGpuTest, GivesTheSameFloatsAsTheCpu) {
  const Tensor a = test::random_tensor<float>(host, 1, {1001}), b = test::random_tensor<float>(host, 2, {1001});
  const Tensor want = host.take("want", DType::kFloat32, {1001}), got = poisoned(DType::kFloat32, {1001});
  add(cpu, a, b, want);
  add(stream, to_device(a), to_device(b), got);
  EXPECT_TRUE(test::same_bits(download(got), test::to_double(host, want)));
}

}  // namespace
}  // namespace engram
