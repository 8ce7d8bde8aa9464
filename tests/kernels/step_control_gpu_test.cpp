#include "kernels/step_control.h"

#include <limits>

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct StepControlGpuTest : test::GpuFixture {};

TEST_F(StepControlGpuTest, DecidesLikeTheCpuForm) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const Tensor ratios = test::tensor_of<double>(host, {0.25, 0.5, 0.75}, {3});
  const Tensor host_guard = test::constant_tensor(host, 0.0, {kSpikeGuard}), guard = to_device(host_guard);
  for (const std::vector<double>& values :
       {std::vector<double>{2, 9, 16}, {nan, 1, 1}, {1, infinity, 1}, {1, 1, nan}, {1, 1e300, 1e300}, {0, 0, 0}}) {
    for (const StepControlOptions& options :
         {StepControlOptions{.clip_norm = 0}, {.clip_norm = 1}, {.clip_norm = 3.5, .separate = true}}) {
      const Tensor want = test::tensor_of<double>(host, {1, 0.7, 1, 0.3, 1, 0.8, 1, 0.3}, {2, 4});
      const Tensor got = to_device(want), sums = test::tensor_of(host, values, {3});
      for (int step = 0; step < 3; ++step) {  // past the end of the schedule
        step_control(stream, to_device(sums), to_device(ratios), options, guard, got);
        step_control(cpu, sums, ratios, options, host_guard, want);
        EXPECT_TRUE(test::same_bits(to_host(got), want)) << values[0] << " " << values[1] << " " << values[2];
      }
    }
  }
}

TEST_F(StepControlGpuTest, FindsTheSpikesOfTheCpuForm) {
  const Tensor ratios = test::tensor_of<double>(host, {1}, {1});
  const Tensor host_guard = test::constant_tensor(host, 0.0, {kSpikeGuard}), guard = to_device(host_guard);
  const Tensor control = test::constant_tensor(host, 0.0, {2, 4}), got = to_device(control);
  int num_spikes = 0;
  for (int64_t step = 0; step < 3 * kSpikeWindow; ++step) {
    const double height = step % 50 == 49 ? 100 : 1;
    const Tensor sums = test::tensor_of<double>(host, {height + 0.01 * static_cast<double>(step % 7), 1, 2}, {3});
    step_control(stream, to_device(sums), to_device(ratios), {.skip_spikes = true}, guard, got);
    step_control(cpu, sums, ratios, {.skip_spikes = true}, host_guard, control);
    const auto found = host_span<double>(host_guard);
    num_spikes += static_cast<int>(found[1]);
    EXPECT_EQ(host_span<double>(to_host(guard))[1], found[1]) << step;
    EXPECT_TRUE(test::same_bits(to_host(got), control)) << step;
  }
  EXPECT_GT(num_spikes, 3);
}

}  // namespace
}  // namespace engram
