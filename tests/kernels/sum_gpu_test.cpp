#include <limits>

#include "kernels/global_norm.h"
#include "kernels/sum.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

// sum and sum_of_squares, which share their CUDA form.
struct SumGpuTest : test::GpuFixture {
  using Op = void (*)(Stream&, const Tensor&, const Tensor&);

  // What the op adds to 0.5.
  double on_device(Op op, const Tensor& x) {
    const Tensor total = upload(test::constant_tensor(host, 0.5, {1}), DType::kFloat64);
    op(stream, x, total);
    return test::element(download(total), 0) - 0.5;
  }
  double on_cpu(Op op, const Tensor& x) {
    const Tensor total = test::constant_tensor(host, 0.5, {1});
    op(cpu, x, total);
    return test::element(total, 0) - 0.5;
  }
  void compare(Op op, DType dtype, int64_t count) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor x = test::random_tensor<double>(host, 1, {count});
    const Tensor device_x = upload(x, dtype);
    const double got = on_device(op, device_x), want = on_cpu(op, rounded(x, dtype));
    EXPECT_NEAR(got, want, 1e-13 * static_cast<double>(count + 1)) << count << " of " << name_of(dtype);
    EXPECT_EQ(got, on_device(op, device_x));  // the same bits again
  }
};

TEST_F(SumGpuTest, MatchesTheDoubleForm) {
  for (const int64_t count : {0, 1, 31, 2048, 2049, 3'000'017}) {
    for (const DType dtype : {DType::kFloat64, DType::kFloat32}) compare(sum, dtype, count);
    for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
      compare(sum_of_squares, dtype, count);
    }
  }
}

TEST_F(SumGpuTest, AddsInDouble) {
  const Tensor x = test::constant_tensor(host, 0x1p-13, {int64_t{1} << 20});
  test::set_element(x, 0, 1024);  // in float, no small square would move a sum of 2^20
  EXPECT_EQ(on_device(sum_of_squares, upload(x, DType::kFloat32)), 0x1p20 + ((int64_t{1} << 20) - 1) * 0x1p-26);
}

TEST_F(SumGpuTest, NonFiniteElementsReachTheTotal) {
  const Tensor x = test::constant_tensor(host, 1.0, {5000});
  test::set_element(x, 4711, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isinf(on_device(sum_of_squares, upload(x, DType::kFloat32))));
  test::set_element(x, 3, NAN);
  EXPECT_TRUE(std::isnan(on_device(sum_of_squares, upload(x, DType::kFloat32))));
}

}  // namespace
}  // namespace engram
