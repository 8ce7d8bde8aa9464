#include "kernels/adamw.h"
#include "kernels/convert.h"
#include "tests/gpu_testing.h"
#include "tests/kernels/update_control_testing.h"

namespace engram {
namespace {

using test::relative_error;

struct AdamWGpuTest : test::GpuFixture {
  static constexpr AdamWOptions kOptions{.learning_rate = 2e-2, .eps = 1e-8};

  // `shift` puts the arrays off the boundaries of wide loads. Moments are in dtype or bfloat16, on both sides.
  void compare(DType dtype, DType moment, int64_t count, int64_t shift) {
    Arena::Scope host_scope(host), device_scope(*device);
    const Tensor weight = test::random_tensor<double>(host, 1, {count + shift}),
                 zero = test::constant_tensor(host, 0.0, {count + shift});
    const auto tail = [&](const Tensor& x) { return x.rows(shift, count); };
    const bool is_narrow = moment == DType::kBFloat16;
    const Tensor device_weight = upload(weight, dtype), device_m = upload(zero, moment),
                 device_v = upload(zero, moment);
    const auto moments = [&] {
      return is_narrow ? test::constant_tensor(host, bfloat16(0.0f), {count + shift}) : rounded(zero, dtype);
    };
    const Tensor want = rounded(weight, dtype), want_m = moments(), want_v = moments();
    const Tensor copy_of_weight = poisoned(DType::kBFloat16, {count + shift});
    for (int64_t step = 1; step <= 5; ++step) {
      Arena::Scope host_step(host), device_step(*device);
      const Tensor control = test::control_tensor(host, {.grad_scale = 0.25, .num_updates = step, .lr_ratio = 0.5});
      const Tensor grad = test::random_tensor<double>(host, 100 + static_cast<uint64_t>(step), {count + shift}, 0.1);
      adamw_update(stream, kOptions, to_device(control), tail(device_weight), tail(upload(grad, dtype)), tail(device_m),
                   tail(device_v), tail(copy_of_weight));
      adamw_update(cpu, kOptions, control, tail(want), tail(rounded(grad, dtype)), tail(want_m), tail(want_v));
    }
    // The twin rounds a moment to the other side where its last bits differ: rarely, and then by a unit of the last
    // place.
    for (const auto& [got, wanted] : {std::pair{device_m, want_m}, {device_v, want_v}}) {
      Arena::Scope scope(host);
      const Tensor wide = is_narrow ? test::constant_tensor(host, 0.0f, {count + shift}) : wanted;
      if (is_narrow) convert(cpu, wanted, wide);
      EXPECT_LT(relative_error(download(got), wide), is_narrow ? 1e-3 : bound(dtype));
    }
    EXPECT_LT(relative_error(download(device_weight), want), is_narrow ? 1e-4 : bound(dtype));
    const Tensor got = download(tail(device_weight)), copied = download(tail(copy_of_weight));
    for (int64_t i = 0; i < count; ++i) {
      const auto narrow = bfloat16(static_cast<float>(test::element(got, i)));
      EXPECT_EQ(test::element(copied, i), double{static_cast<float>(narrow)});
    }
  }
};

TEST_F(AdamWGpuTest, MatchesTheDoubleForm) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const int64_t count : {0, 1, 255, 10'007}) {
      for (const DType moment : {dtype, DType::kBFloat16}) {
        for (const int64_t shift : {0, 1}) compare(dtype, moment, count, shift);
      }
    }
  }
}

TEST_F(AdamWGpuTest, MoreElementsThanThreadsAreAllUpdated) {
  for (const DType moment : {DType::kFloat32, DType::kBFloat16}) {
    compare(DType::kFloat32, moment, (int64_t{1} << 21) + 5, 0);
  }
}

TEST_F(AdamWGpuTest, ARefusedStepChangesNoBit) {
  const Tensor weight = upload(test::random_tensor<double>(host, 1, {1000}), DType::kFloat32);
  const Tensor m = upload(test::random_tensor<double>(host, 2, {1000}), DType::kFloat32);
  const Tensor grad = poisoned(DType::kFloat32, {1000}), rounded_copy = poisoned(DType::kBFloat16, {1000});
  const Tensor before = to_host(weight), moment = to_host(m), copy_before = to_host(rounded_copy);
  const Tensor control = to_device(test::control_tensor(host, {.apply = false}));
  adamw_update(stream, kOptions, control, weight, grad, m, m, rounded_copy);
  EXPECT_TRUE(test::same_bits(to_host(weight), before));
  EXPECT_TRUE(test::same_bits(to_host(m), moment));
  EXPECT_TRUE(test::same_bits(to_host(rounded_copy), copy_before));
}

}  // namespace
}  // namespace engram
