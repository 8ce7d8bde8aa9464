#include "kernels/step_control.h"

#include <limits>

#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct StepControlGpuTest : test::GpuFixture {};

TEST_F(StepControlGpuTest, DecidesLikeTheCpuForm) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const Tensor ratios = test::tensor_of<double>(host, {0.25, 0.5, 0.75}, {3});
  for (const std::vector<double>& values :
       {std::vector<double>{2, 9, 16}, {nan, 1, 1}, {1, infinity, 1}, {1, 1, nan}, {1, 1e300, 1e300}, {0, 0, 0}}) {
    for (const StepControlOptions& options :
         {StepControlOptions{.clip_norm = 0}, {.clip_norm = 1}, {.clip_norm = 3.5, .separate = true}}) {
      const Tensor want = test::tensor_of<double>(host, {1, 0.7, 1, 0.3, 1, 0.8, 1, 0.3}, {2, 4});
      const Tensor got = to_device(want), sums = test::tensor_of(host, values, {3});
      for (int step = 0; step < 3; ++step) {  // past the end of the schedule
        step_control(stream, to_device(sums), to_device(ratios), options, got);
        step_control(cpu, sums, ratios, options, want);
        EXPECT_TRUE(test::same_bits(to_host(got), want)) << values[0] << " " << values[1] << " " << values[2];
      }
    }
  }
}

}  // namespace
}  // namespace engram
