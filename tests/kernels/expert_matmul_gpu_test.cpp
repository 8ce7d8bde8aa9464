#include "kernels/expert_matmul.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ExpertMatmulGpuTest : test::GpuFixture {
  // Sums of products in float lose more than one rounding.
  static double product_bound(DType dtype) { return dtype == DType::kBFloat16 ? bound(dtype) : 1e-5; }

  // The CUDA forms in `dtype` against the double CPU forms, each expert with its own number of rows.
  void compare(DType dtype, const std::vector<int64_t>& counts, int64_t out, int64_t in) {
    Arena::Scope host_scope(host), device_scope(*device);
    const auto num_experts = static_cast<int64_t>(counts.size());
    const Tensor offsets = host.take("offsets", DType::kInt64, {num_experts + 1});
    auto ends = host_span<int64_t>(offsets);
    ends[0] = 0;
    for (size_t e = 0; e < counts.size(); ++e) ends[e + 1] = ends[e] + counts[e];
    const int64_t num_rows = ends.back();
    const auto random = [&](uint64_t seed, std::initializer_list<int64_t> shape) {
      return rounded(test::random_tensor<double>(host, seed, shape), dtype);
    };
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };
    const Tensor x = random(1, {num_rows, in}), weight = random(2, {num_experts, out, in});
    const Tensor dy = random(3, {num_rows, out});
    const Tensor device_x = upload(x, dtype), device_weight = upload(weight, dtype), device_dy = upload(dy, dtype);
    const Tensor device_offsets = to_device(offsets);

    const Tensor y = poisoned(dtype, {num_rows, out}), want_y = take({num_rows, out});
    expert_matmul_forward(stream, device_x, device_weight, device_offsets, y);
    expert_matmul_forward(cpu, x, weight, offsets, want_y);
    EXPECT_LT(relative_error(download(y), want_y), product_bound(dtype));

    const Tensor dx = poisoned(dtype, {num_rows, in}), want_dx = take({num_rows, in});
    expert_matmul_backward_input(stream, device_dy, device_weight, device_offsets, dx);
    expert_matmul_backward_input(cpu, dy, weight, offsets, want_dx);
    EXPECT_LT(relative_error(download(dx), want_dx), product_bound(dtype));

    const Tensor want_dweight = random(4, {num_experts, out, in});
    const Tensor dweight = upload(want_dweight, accumulator(dtype)), before = to_host(dweight);
    expert_matmul_backward_weight(stream, device_dy, device_x, device_offsets, dweight);
    expert_matmul_backward_weight(cpu, dy, x, offsets, want_dweight);
    const Tensor got_dweight = download(dweight);
    for (int64_t e = 0; e < num_experts; ++e) {
      EXPECT_LT(relative_error(got_dweight.rows(e, 1), want_dweight.rows(e, 1)), product_bound(dtype));
      if (counts[static_cast<size_t>(e)] == 0) {
        EXPECT_TRUE(test::same_bits(to_host(dweight).rows(e, 1), before.rows(e, 1)));
      }
    }
  }
};

TEST_F(ExpertMatmulGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    compare(dtype, {0, 0}, 8, 8);
    compare(dtype, {1}, 1, 1);
    compare(dtype, {3, 0, 1, 40, 0}, 17, 37);
    compare(dtype, {128, 129, 1, 127, 256}, 136, 72);
    compare(dtype, {5, 300, 2, 0}, 129, 257);
    compare(dtype, {200, 0, 31}, 256, 320);
    compare(dtype, std::vector<int64_t>(70, 3), 16, 24);
  }
}

// bfloat16 in whole pieces of 16 bytes, which libraries take: tiles and inner sizes that end anywhere, experts without
// rows first, last and in a row.
TEST_F(ExpertMatmulGpuTest, MatchesTheDoubleFormWithAndWithoutLibraries) {
  for (const bool use : {true, false}) {
    use_library_kernels(stream, use);
    compare(DType::kBFloat16, {0, 0, 1, 0}, 8, 8);
    compare(DType::kBFloat16, {0, 64, 63, 0, 0, 65, 1}, 264, 136);
    compare(DType::kBFloat16, {513, 1, 0, 130}, 384, 192);
    std::vector<int64_t> many(67, 0);
    for (size_t e = 0; e < many.size(); ++e) many[e] = e % 40 == 39 ? 150 : int64_t(e) % 7;
    compare(DType::kBFloat16, many, 72, 128);
    compare(DType::kBFloat16, std::vector<int64_t>(40, 0), 16, 24);
    compare(DType::kBFloat16, {100, 33}, 1024, 1152);
    // Few tiles of long sums, which are cut: in the midst of experts and where one begins.
    compare(DType::kBFloat16, {2100, 0, 5003}, 128, 200);
    compare(DType::kBFloat16, {512, 512, 0, 1, 1023, 3000}, 72, 128);
  }
}

TEST_F(ExpertMatmulGpuTest, LeavesRowsAloneThatNoExpertHas) {
  const Tensor x = upload(test::random_tensor<double>(host, 1, {200, 64}), DType::kBFloat16);
  const Tensor weight = upload(test::random_tensor<double>(host, 2, {2, 128, 64}), DType::kBFloat16);
  const Tensor offsets = to_device(test::tensor_of<int64_t>(host, {0, 70, 131}, {3}));
  for (const bool use : {true, false}) {
    use_library_kernels(stream, use);
    const Tensor y = poisoned(DType::kBFloat16, {200, 128}), before = to_host(y);
    expert_matmul_forward(stream, x, weight, offsets, y);
    EXPECT_TRUE(test::same_bits(to_host(y).rows(131, 69), before.rows(131, 69)));
    EXPECT_FALSE(test::same_bits(to_host(y).rows(130, 1), before.rows(130, 1)));
  }
}

TEST_F(ExpertMatmulGpuTest, RowsThatNoExpertHasDoNotReachASum) {
  const Tensor rows = test::constant_tensor(host, 1.0, {3000, 24});
  Stream queue = CpuQueue{};
  copy(queue, test::constant_tensor(host, double{NAN}, {2300, 24}), rows.rows(700, 2300));
  const Tensor x = upload(rows, DType::kBFloat16);
  const Tensor offsets = to_device(test::tensor_of<int64_t>(host, {0, 600, 700}, {3}));
  for (const bool use : {true, false}) {
    use_library_kernels(stream, use);
    const Tensor dweight = upload(test::constant_tensor(host, 0.0, {2, 24, 24}), DType::kFloat32);
    expert_matmul_backward_weight(stream, x, x, offsets, dweight);
    const Tensor got = download(dweight);
    for (int64_t i = 0; i < 24 * 24; ++i) {
      ASSERT_EQ(test::element(got.rows(0, 1), i), 600.0);
      ASSERT_EQ(test::element(got.rows(1, 1), i), 100.0);
    }
  }
}

TEST_F(ExpertMatmulGpuTest, TwoRunsGiveTheSameBits) {
  const Tensor x = upload(test::random_tensor<double>(host, 1, {4100, 96}), DType::kBFloat16);
  const Tensor dy = upload(test::random_tensor<double>(host, 2, {4100, 160}), DType::kBFloat16);
  const Tensor offsets = to_device(test::tensor_of<int64_t>(host, {0, 3000, 3000, 3001, 4100}, {5}));
  Tensor sums[2];
  for (Tensor& sum : sums) {
    sum = upload(test::constant_tensor(host, 1.0, {4, 160, 96}), DType::kFloat32);
    expert_matmul_backward_weight(stream, dy, x, offsets, sum);
  }
  EXPECT_TRUE(test::same_bits(to_host(sums[0]), to_host(sums[1])));
}

TEST_F(ExpertMatmulGpuTest, RowsOfOtherExpertsDoNotReachASum) {
  const Tensor ones = test::constant_tensor(host, 1.0, {6, 24}),
               nan = test::constant_tensor(host, double{NAN}, {2, 24});
  Stream queue = CpuQueue{};
  copy(queue, nan, ones.rows(2, 2));  // expert 1 has rows 2 and 3
  const Tensor offsets = to_device(test::tensor_of<int64_t>(host, {0, 2, 4, 6}, {4}));
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Tensor x = upload(ones, dtype);
    const Tensor dweight = upload(test::constant_tensor(host, 0.0, {3, 24, 24}), DType::kFloat32);
    expert_matmul_backward_weight(stream, x, x, offsets, dweight);
    const Tensor got = download(dweight);
    for (const int64_t expert : {0, 2}) {
      for (int64_t i = 0; i < 24 * 24; ++i) ASSERT_EQ(test::element(got.rows(expert, 1), i), 2.0);
    }
    EXPECT_TRUE(std::isnan(test::element(got.rows(1, 1), 0)));
  }
}

}  // namespace
}  // namespace engram
