#include "kernels/matmul.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct MatmulGpuTest : test::GpuFixture {
  struct Sizes {
    int64_t m, n, k;
  };

  // Long sums in float, for which tensor cores round each step towards zero, lose more than GpuFixture allows.
  static double bound(DType dtype) { return dtype == DType::kFloat32 ? 1e-5 : GpuFixture::bound(dtype); }

  // Every combination of the options, from `dtype` into `out`.
  void compare(DType dtype, DType out, const Sizes& sizes) {
    for (int bits = 0; bits < 8; ++bits) {
      const MatmulOptions options{
          .transpose_a = (bits & 1) != 0, .transpose_b = (bits & 2) != 0, .accumulate = (bits & 4) != 0};
      Arena::Scope host_scope(host), device_scope(*device);
      const auto [m, n, k] = sizes;
      const Tensor a = test::random_tensor<double>(host, 1, {options.transpose_a ? k : m, options.transpose_a ? m : k});
      const Tensor b = test::random_tensor<double>(host, 2, {options.transpose_b ? n : k, options.transpose_b ? k : n});
      const Tensor start = test::random_tensor<double>(host, 3, {m, n});
      const Tensor c = options.accumulate ? upload(start, out) : poisoned(out, {m, n}), want = rounded(start, out);
      matmul(stream, upload(a, dtype), upload(b, dtype), c, options);
      matmul(cpu, rounded(a, dtype), rounded(b, dtype), want, options);
      EXPECT_LT(relative_error(download(c), want), bound(out))
          << m << " x " << n << " x " << k << ", options " << bits << ", " << name_of(dtype) << " to " << name_of(out);
    }
  }
};

TEST_F(MatmulGpuTest, MatchesTheDoubleForm) {
  const std::pair<DType, DType> types[] = {{DType::kFloat64, DType::kFloat64},
                                           {DType::kFloat32, DType::kFloat32},
                                           {DType::kBFloat16, DType::kBFloat16},
                                           {DType::kBFloat16, DType::kFloat32}};
  for (const auto& [dtype, out] : types) {
    for (const Sizes& sizes : {Sizes{0, 3, 4},
                               {3, 0, 4},
                               {3, 4, 0},
                               {1, 1, 1},
                               {7, 131, 33},
                               {128, 64, 256},
                               {1, 512, 300},
                               {200, 1, 77},
                               {64, 48, 4096}}) {
      compare(dtype, out, sizes);
    }
  }
}

// Large enough for another choice among cuBLAS's algorithms; some rows of the result are enough to compare.
TEST_F(MatmulGpuTest, MatchesTheDoubleFormOfLargeResults) {
  constexpr int64_t kRows = 4104, kColumns = 4096, kInner = 72;
  const Tensor a = test::random_tensor<double>(host, 1, {kRows, kInner});
  const Tensor b = test::random_tensor<double>(host, 2, {kColumns, kInner});
  const Tensor c = poisoned(DType::kBFloat16, {kRows, kColumns});
  matmul(stream, upload(a, DType::kBFloat16), upload(b, DType::kBFloat16), c, {.transpose_b = true});
  for (const int64_t row : {int64_t{0}, int64_t{2000}, kRows - 150}) {
    Arena::Scope scope(host);
    const Tensor want = host.take("want", DType::kFloat64, {150, kColumns});
    matmul(cpu, rounded(a, DType::kBFloat16).rows(row, 150), rounded(b, DType::kBFloat16), want, {.transpose_b = true});
    EXPECT_LT(relative_error(download(c.rows(row, 150)), want), bound(DType::kBFloat16));
  }
}

TEST_F(MatmulGpuTest, TakesMemoryOfAnyAlignment) {
  const Tensor a = test::random_tensor<double>(host, 1, {9, 33}), b = test::random_tensor<double>(host, 2, {33, 31});
  const Tensor want = host.take("want", DType::kFloat64, {4, 31});
  const Tensor device_a = upload(a, DType::kBFloat16), device_b = upload(b, DType::kBFloat16);
  const Tensor c = poisoned(DType::kBFloat16, {9, 31});
  for (int64_t row = 0; row < 4; ++row) {  // rows of 66 bytes: aligned to 256, 2, 4 and 2 bytes
    matmul(stream, device_a.rows(row, 4), device_b, c.rows(row, 4));
    matmul(cpu, rounded(a, DType::kBFloat16).rows(row, 4), rounded(b, DType::kBFloat16), want);
    EXPECT_LT(relative_error(download(c.rows(row, 4)), want), bound(DType::kBFloat16));
  }
}

TEST_F(MatmulGpuTest, TwoRunsGiveTheSameBits) {
  const Tensor x = upload(test::random_tensor<double>(host, 1, {4096, 96}), DType::kBFloat16);
  const Tensor dy = upload(test::random_tensor<double>(host, 2, {4096, 80}), DType::kBFloat16);
  Tensor products[2];
  for (Tensor& product : products) {  // a long inner size, which cuBLAS may split
    product = poisoned(DType::kFloat32, {80, 96});
    matmul(stream, dy, x, product, {.transpose_a = true});
  }
  EXPECT_TRUE(test::same_bits(download(products[0]), download(products[1])));
}

}  // namespace
}  // namespace engram
