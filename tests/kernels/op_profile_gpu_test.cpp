#include "kernels/core/op_profile.h"

#include "kernels/matmul.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

using OpProfileGpuTest = test::GpuFixture;

// What the device did lies between what one product takes at the least and the time of the host around it.
TEST_F(OpProfileGpuTest, TimesWhatTheDeviceDoes) {
  constexpr int64_t kSize = 2048;
  constexpr int kRepeats = 20;
  const Tensor a = device->take("a", DType::kBFloat16, {kSize, kSize}), c = device->take("c", a.dtype, {kSize, kSize});
  zero(stream, a);
  matmul(stream, a, a, c, {});  // chooses its algorithm
  synchronize(stream);

  OpProfile profile;
  Stream clock = CpuQueue{};
  Timeline clock_marks;
  set_profile(stream, &profile);
  clock_marks.mark(clock);
  for (int i = 0; i < kRepeats; ++i) matmul(stream, a, a, c, {});
  synchronize(stream);
  clock_marks.mark(clock);
  set_profile(stream, nullptr);

  double seconds = 0;
  for (const auto& line : profile.lines()) seconds += line.seconds;
  EXPECT_GT(seconds, kRepeats * 2.0 * kSize * kSize * kSize / 2e15);  // above the speed of any card of today
  EXPECT_LE(seconds, clock_marks.seconds(0, 1));
  EXPECT_LE(profile.seconds(), clock_marks.seconds(0, 1));
}

}  // namespace
}  // namespace engram
