#include "kernels/random_fill.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct RandomFillGpuTest : test::GpuFixture {
  static constexpr RandomFill kFill{.seed = 11,
                                    .domain = RandomDomain::kTableInit,
                                    .tensor = 3,
                                    .first_index = (uint64_t{1} << 33) + 5,
                                    .mean = 0.25,
                                    .deviation = 0.02};

  // The CPU's values in `like`, and the device's in `dtype`, as doubles.
  Tensor on_cpu(DType like, int64_t count) {
    const Tensor values = host.take("values", like, {count});
    fill_normal(cpu, values, kFill);
    return values;
  }
  Tensor on_device(DType dtype, int64_t count) {
    const Tensor values = poisoned(dtype, {count});
    fill_normal(stream, values, kFill);
    return download(values);
  }
};

TEST_F(RandomFillGpuTest, GivesTheSameBitsAsTheCpu) {
  for (const int64_t count : {0, 1, 1001}) {
    const Tensor floats = on_cpu(DType::kFloat32, count);
    EXPECT_TRUE(test::same_bits(on_device(DType::kFloat64, count), on_cpu(DType::kFloat64, count)));
    EXPECT_TRUE(test::same_bits(on_device(DType::kFloat32, count), test::to_double(host, floats)));
    const Tensor widened = test::to_double(host, floats);
    EXPECT_TRUE(test::same_bits(on_device(DType::kBFloat16, count), rounded(widened, DType::kBFloat16)));
  }
}

}  // namespace
}  // namespace engram
