#include "kernels/convert.h"

#include <limits>

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct ConvertGpuTest : test::GpuFixture {};

TEST_F(ConvertGpuTest, GivesTheBitsOfTheCpuForm) {
  for (const int64_t count : {0, 1, 1027}) {
    const Tensor x = test::random_tensor<float>(host, 3, {count});
    if (count > 1) host_span<float>(x)[1] = std::numeric_limits<float>::infinity();
    const Tensor want = host.take("want", DType::kBFloat16, {count}), got = poisoned(DType::kBFloat16, {count});
    convert(cpu, x, want);
    convert(stream, to_device(x), got);
    EXPECT_TRUE(test::same_bits(to_host(got), want));
    const Tensor wide = host.take("wide", DType::kFloat32, {count}), back = poisoned(DType::kFloat32, {count});
    convert(cpu, want, wide);
    convert(stream, got, back);
    EXPECT_TRUE(test::same_bits(to_host(back), wide));
  }
}

}  // namespace
}  // namespace engram
