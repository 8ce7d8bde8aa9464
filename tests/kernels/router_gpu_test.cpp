#include "kernels/router.h"

#include "tests/gpu_testing.h"
#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct RouterGpuTest : test::GpuFixture {
  struct Outputs {
    Tensor expert, weight, load;
  };

  // Multiples of 1 / 8, so that scores are equal or far apart, and rounding cannot change who is chosen.
  Tensor coarse(uint64_t seed, std::initializer_list<int64_t> shape) {
    const Tensor values = test::random_tensor<double>(host, seed, shape, 1.5);
    for (double& value : host_span<double>(values)) value = std::round(8 * value) / 8;
    return values;
  }

  Outputs on_device(DType dtype, int64_t num_rows, int64_t num_experts, int64_t top_k) {
    return {poisoned(DType::kInt32, {num_rows, top_k}), poisoned(dtype, {num_rows, top_k}),
            to_device(test::constant_tensor<int64_t>(host, 3, {num_experts}))};
  }
  Outputs on_host(int64_t num_rows, int64_t num_experts, int64_t top_k) {
    return {host.take("expert", DType::kInt32, {num_rows, top_k}),
            host.take("weight", DType::kFloat64, {num_rows, top_k}),
            test::constant_tensor<int64_t>(host, 3, {num_experts})};
  }

  void compare(DType dtype, int64_t num_rows, int64_t num_experts, const RouterOptions& options) {
    Arena::Scope host_scope(host), device_scope(*device);
    const int64_t top_k = options.top_k;
    const Tensor logits = coarse(1, {num_rows, num_experts}), bias = coarse(2, {num_experts});
    const Tensor device_logits = upload(logits, dtype);
    const Outputs got = on_device(dtype, num_rows, num_experts, top_k), want = on_host(num_rows, num_experts, top_k);
    router_forward(stream, device_logits, upload(bias, dtype), options, got.expert, got.weight, got.load);
    router_forward(cpu, logits, bias, options, want.expert, want.weight, want.load);
    EXPECT_TRUE(test::same_bits(to_host(got.expert), want.expert)) << num_rows << " " << num_experts << " " << top_k;
    EXPECT_TRUE(test::same_bits(to_host(got.load), want.load));
    EXPECT_LT(relative_error(download(got.weight), want.weight), bound(dtype));

    const Tensor dweight = rounded(test::random_tensor<double>(host, 3, {num_rows, top_k}), dtype);
    const Tensor dlogits = poisoned(dtype, {num_rows, num_experts});
    const Tensor want_dlogits = host.take("dlogits", DType::kFloat64, {num_rows, num_experts});
    router_backward(stream, device_logits, got.expert, upload(dweight, dtype), options, dlogits);
    router_backward(cpu, logits, want.expert, dweight, options, want_dlogits);
    if (top_k > 1) {  // one weight is always `scale`, and its gradient rounding alone
      EXPECT_LT(relative_error(download(dlogits), want_dlogits), 4 * bound(dtype));
    }
    if (top_k == 1 || dtype != DType::kFloat32) return;
    const Tensor narrow = poisoned(DType::kBFloat16, {num_rows, num_experts});
    router_backward(stream, device_logits, got.expert, upload(dweight, dtype), options, narrow);
    EXPECT_LT(relative_error(download(narrow), want_dlogits), bound(DType::kBFloat16));
  }
};

TEST_F(RouterGpuTest, ChoosesWhatTheCpuFormChooses) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const int64_t num_rows : {0, 1, 7, 130}) {
      compare(dtype, num_rows, 1, {.top_k = 1, .scale = 1.0});
      compare(dtype, num_rows, 5, {.top_k = 5, .scale = 1.0});
      compare(dtype, num_rows, 64, {.top_k = 1, .scale = 2.5});
      compare(dtype, num_rows, 64, {.top_k = 6, .scale = 1.0});
      compare(dtype, num_rows, 130, {.top_k = 8, .scale = 1.0});
      compare(dtype, num_rows, 256, {.top_k = 32, .scale = 1.0});
      compare(dtype, num_rows, 72, {.top_k = 6, .scale = 2.5});
      compare(dtype, num_rows, 257, {.top_k = 40, .scale = 1.0});
    }
  }
}

TEST_F(RouterGpuTest, NansAreChosenWhereTheCpuFormChoosesThem) {
  constexpr int64_t kExperts = 70, kTopK = 9;
  const Tensor bias = test::constant_tensor(host, 0.0, {kExperts});
  for (const auto& nans : std::vector<std::vector<int64_t>>{{0}, {1}, {69}, {0, 1, 40}, {33, 0, 32}}) {
    const Tensor logits = coarse(4, {3, kExperts});
    for (const int64_t column : nans) test::set_element(logits, column, NAN);
    for (int64_t column = 0; column < kExperts; ++column) test::set_element(logits, kExperts + column, NAN);
    const Outputs got = on_device(DType::kFloat32, 3, kExperts, kTopK), want = on_host(3, kExperts, kTopK);
    router_forward(stream, upload(logits, DType::kFloat32), upload(bias, DType::kFloat32), {.top_k = kTopK}, got.expert,
                   got.weight, got.load);
    router_forward(cpu, logits, bias, {.top_k = kTopK}, want.expert, want.weight, want.load);
    EXPECT_TRUE(test::same_bits(to_host(got.expert), want.expert));
    EXPECT_TRUE(test::same_bits(to_host(got.load), want.load));
  }
}

TEST_F(RouterGpuTest, MovesTheBiasLikeTheCpuForm) {
  for (const bool apply : {true, false}) {
    const Tensor control = test::control_tensor(host, {.apply = apply});
    for (const int64_t num_experts : {1, 5, 64, 100}) {
      const Tensor load = test::constant_tensor<int64_t>(host, 0, {7, num_experts});
      for (int64_t i = 0; i < load.numel(); ++i) host_span<int64_t>(load)[static_cast<size_t>(i)] = i * i * 7 % 5;
      const Tensor start = test::random_tensor<double>(host, 5, {7, num_experts}), want = test::clone(host, start);
      const Tensor bias = upload(start, DType::kFloat64);
      router_update_bias(stream, to_device(control), to_device(load), 0.25, bias);
      router_update_bias(cpu, control, load, 0.25, want);
      EXPECT_TRUE(test::same_bits(to_host(bias), want));
      EXPECT_EQ(test::same_bits(want, start), !apply || num_experts == 1);
    }
  }
}

}  // namespace
}  // namespace engram
