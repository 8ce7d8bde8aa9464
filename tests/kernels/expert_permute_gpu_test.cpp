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

  struct Plan {
    Tensor offsets, slot, device_slot;
  };
  // The plan of both forms, which must be the same.
  Plan plan(int64_t num_tokens, int64_t top_k, int64_t num_experts, int64_t used) {
    const Tensor expert = random_experts(num_tokens, top_k, used);
    const Plan made{host.take("offsets", DType::kInt64, {num_experts + 1}),
                    host.take("slot", DType::kInt64, {num_tokens, top_k}),
                    poisoned(DType::kInt64, {num_tokens, top_k})};
    const Tensor offsets = poisoned(DType::kInt64, {num_experts + 1});
    expert_permute_plan(cpu, expert, made.offsets, made.slot);
    expert_permute_plan(stream, to_device(expert), offsets, made.device_slot);
    EXPECT_TRUE(test::same_bits(to_host(offsets), made.offsets)) << num_tokens << " " << top_k << " " << num_experts;
    EXPECT_TRUE(test::same_bits(to_host(made.device_slot), made.slot)) << num_tokens << " " << top_k;
    return made;
  }

  void compare(DType dtype, int64_t num_tokens, int64_t top_k, int64_t width) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Plan p = plan(num_tokens, top_k, 11, 7);
    const int64_t num_rows = num_tokens * top_k;
    const auto random = [&](uint64_t seed, std::initializer_list<int64_t> shape, DType as) {
      return rounded(test::random_tensor<double>(host, seed, shape), as);
    };
    const auto take = [&](std::initializer_list<int64_t> shape) { return host.take("want", DType::kFloat64, shape); };
    const Tensor x = random(2, {num_tokens, width}, dtype), rows = random(3, {num_rows, width}, dtype);
    const Tensor weight = random(4, {num_tokens, top_k}, accumulator(dtype));
    const Tensor device_rows = upload(rows, dtype), device_weight = upload(weight, accumulator(dtype));

    const Tensor sorted = poisoned(dtype, {num_rows, width}), want_sorted = take({num_rows, width});
    permute_forward(stream, upload(x, dtype), p.device_slot, sorted);
    permute_forward(cpu, x, p.slot, want_sorted);
    EXPECT_TRUE(test::same_bits(download(sorted), want_sorted));

    const Tensor y = poisoned(dtype, {num_tokens, width}), want_y = take({num_tokens, width});
    permute_backward(stream, device_rows, p.device_slot, y);
    permute_backward(cpu, rows, p.slot, want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));
    unpermute_forward(stream, device_rows, p.device_slot, device_weight, y);
    unpermute_forward(cpu, rows, p.slot, weight, want_y);
    EXPECT_LT(relative_error(download(y), want_y), bound(dtype));

    const Tensor dweight = poisoned(accumulator(dtype), {num_tokens, top_k}), want_dweight = take({num_tokens, top_k});
    unpermute_backward(cpu, rows, p.slot, weight, x, want_sorted, want_dweight);
    for (const Tensor& dsorted : {sorted, device_rows}) {  // dsorted may be sorted
      unpermute_backward(stream, device_rows, p.device_slot, device_weight, upload(x, dtype), dsorted, dweight);
      EXPECT_LT(relative_error(download(dsorted), want_sorted), bound(dtype));
      EXPECT_LT(relative_error(download(dweight), want_dweight), 20 * bound(accumulator(dtype)));
    }
  }
};

TEST_F(ExpertPermuteGpuTest, PlansLikeTheCpuForm) {
  for (const int64_t num_tokens : {0, 1, 2, 31, 33, 1000, 5003}) {
    plan(num_tokens, 1, 1, 1);
    plan(num_tokens, 2, 5, 4);
    plan(num_tokens, 6, 64, 64);
  }
}

TEST_F(ExpertPermuteGpuTest, MovesAndSumsLikeTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t num_tokens : {0, 1, 7, 130}) {
      for (const int64_t width : {1, 33, 640}) {
        compare(dtype, num_tokens, 1, width);
        compare(dtype, num_tokens, 6, width);
      }
    }
  }
}

}  // namespace
}  // namespace engram
