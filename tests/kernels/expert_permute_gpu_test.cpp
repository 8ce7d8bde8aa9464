#include "kernels/expert_permute.h"

#include "tests/gpu_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct ExpertPermuteGpuTest : test::GpuFixture {
  // Distinct experts for each token; those from `used` on get nothing.
  Tensor random_experts(int64_t num_tokens, int64_t top_k, int64_t used) {
    const Tensor expert = host.take("expert", DType::kInt32, {num_tokens, top_k});
    for (int64_t token = 0; token < num_tokens; ++token) {
      const int64_t first = philox(1, static_cast<uint64_t>(token), 0).word[0] % static_cast<uint64_t>(used);
      for (int64_t i = 0; i < top_k; ++i) {
        static_cast<int32_t*>(expert.data)[token * top_k + i] = static_cast<int32_t>((first + i * 3) % used);
      }
    }
    return expert;
  }

  struct Plans {
    Tensor slot, device_slot;
  };
  // The plan of both forms, which must be the same.
  Plans plan(int64_t num_tokens, int64_t top_k, int64_t num_experts, int64_t used) {
    const Tensor expert = random_experts(num_tokens, top_k, used);
    const ExpertPlan want{host.take("offsets", DType::kInt64, {num_experts + 1}),
                          host.take("slot", DType::kInt64, {num_tokens, top_k}),
                          host.take("choice", DType::kInt64, {num_tokens * top_k})};
    const ExpertPlan got{poisoned(DType::kInt64, {num_experts + 1}), poisoned(DType::kInt64, {num_tokens, top_k}),
                         poisoned(DType::kInt64, {num_tokens * top_k})};
    expert_permute_plan(cpu, expert, want);
    expert_permute_plan(stream, to_device(expert), got);
    EXPECT_TRUE(test::same_bits(to_host(got.offsets), want.offsets))
        << num_tokens << " " << top_k << " " << num_experts;
    EXPECT_TRUE(test::same_bits(to_host(got.slot), want.slot)) << num_tokens << " " << top_k;
    EXPECT_TRUE(test::same_bits(to_host(got.choice), want.choice)) << num_tokens << " " << top_k;
    return {want.slot, got.slot};
  }

  void compare(DType dtype, int64_t num_tokens, int64_t top_k, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Plans p = plan(num_tokens, top_k, 11, 7);
    const int64_t num_rows = num_tokens * top_k;
    const auto random = [&](uint64_t seed, std::initializer_list<int64_t> shape) {
      return rounded(test::random_tensor<double>(host, seed, shape), dtype);
    };
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };
    const Tensor x = random(2, {num_tokens, width}), rows = random(3, {num_rows, width});

    const Tensor sorted = poisoned(dtype, {num_rows, width}), want_sorted = take({num_rows, width});
    permute(stream, upload(x, dtype), p.device_slot, sorted);
    permute(cpu, x, p.slot, want_sorted);
    EXPECT_TRUE(test::same_bits(download(sorted), want_sorted));

    const Tensor y = poisoned(dtype, {num_tokens, width}), want_y = take({num_tokens, width});
    const Tensor device_rows = upload(rows, dtype), device_x = upload(x, dtype);
    unpermute(stream, device_rows, p.device_slot, {}, y);
    unpermute(cpu, rows, p.slot, {}, want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));
    unpermute(cpu, rows, p.slot, x, want_y);
    for (const Tensor& result : {y, device_x}) {  // y may be addend
      unpermute(stream, device_rows, p.device_slot, device_x, result);
      EXPECT_LT(relative_error(download(result), want_y), bound(dtype));
    }
  }
};

TEST_F(ExpertPermuteGpuTest, PlansLikeTheCpuForm) {
  for (const int64_t num_tokens : {0, 1, 2, 31, 33, 1000, 5003}) {
    plan(num_tokens, 1, 1, 1);
    plan(num_tokens, 2, 5, 4);
    plan(num_tokens, 6, 64, 64);
    plan(num_tokens, 4, 1000, 900);
  }
}

TEST_F(ExpertPermuteGpuTest, MovesWholeNumbersLikeTheCpuForm) {
  const Tensor expert = random_experts(130, 6, 7).reshape({780, 1});
  const Plans p = plan(130, 6, 11, 7);
  const Tensor want = host.take("want", DType::kInt32, {780, 1}), got = poisoned(DType::kInt32, {780, 1});
  permute(cpu, expert, p.slot.reshape({780, 1}), want);
  permute(stream, to_device(expert), p.device_slot.reshape({780, 1}), got);
  EXPECT_TRUE(test::same_bits(to_host(got), want));
}

TEST_F(ExpertPermuteGpuTest, MovesAndSumsLikeTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_tokens : {0, 1, 7, 130}) {
      for (const int64_t width : {1, 33, 640}) {
        compare(dtype, num_tokens, 1, width);
        compare(dtype, num_tokens, 6, width);
        compare(dtype, num_tokens, 9, width);
      }
    }
  }
}

}  // namespace
}  // namespace engram
