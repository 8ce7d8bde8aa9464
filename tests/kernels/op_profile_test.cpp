#include "kernels/core/op_profile.h"

#include "kernels/core/device.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/rms_norm.h"
#include "tests/testing.h"

namespace engram {
namespace {

const OpProfile::Line* find(const std::vector<OpProfile::Line>& lines, const std::string& op) {
  for (const auto& line : lines) {
    if (line.op == op) return &line;
  }
  return nullptr;
}

TEST(OpProfile, CountsAndNamesTheOpsOfItsStream) {
  Stream stream = CpuQueue{};
  Arena arena(Device::kCpu, 1 << 20);
  const Tensor x = arena.take("x", DType::kFloat32, {64, 64}), y = arena.take("y", DType::kFloat32, {64, 64});
  const Tensor weight = arena.take("w", DType::kFloat32, {64}), inv_rms = arena.take("r", DType::kFloat32, {64});
  for (const Tensor& tensor : {x, y, weight}) zero(stream, tensor);

  OpProfile profile;
  set_profile(stream, &profile);
  EXPECT_EQ(profile_of(stream), &profile);
  add(stream, x, x, y);
  add(stream, x, y, y);
  rms_norm_forward(stream, x, weight, 1e-6, y, inv_rms);
  matmul(stream, x, x, y, {});
  matmul(stream, x, x, y, {});
  copy(stream, x, y);
  set_profile(stream, nullptr);
  add(stream, x, x, y);  // not counted

  const auto lines = profile.lines();
  ASSERT_NE(find(lines, "add"), nullptr);
  EXPECT_EQ(find(lines, "add")->calls, 2);
  EXPECT_NE(find(lines, "rms_norm_forward"), nullptr);
  EXPECT_NE(find(lines, "copy"), nullptr);
  EXPECT_EQ(find(lines, "zero"), nullptr);
  ASSERT_NE(find(lines, "matmul 64x64x64"), nullptr);
  EXPECT_EQ(find(lines, "matmul 64x64x64")->calls, 2);
  EXPECT_EQ(find(lines, "matmul 64x64x64")->flops, 2 * 2.0 * 64 * 64 * 64);
  EXPECT_EQ(find(lines, "copy")->flops, 0);

  double sum = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    sum += lines[i].seconds;
    if (i > 0) {
      EXPECT_GE(lines[i - 1].seconds, lines[i].seconds);
    }
  }
  EXPECT_GT(sum, 0);
  EXPECT_LE(sum, profile.seconds());
}

TEST(OpProfile, ADryStreamHasNone) {
  Stream stream = DryQueue{};
  OpProfile profile;
  set_profile(stream, &profile);
  EXPECT_EQ(profile_of(stream), nullptr);
  EXPECT_TRUE(profile.lines().empty());
  EXPECT_EQ(profile.seconds(), 0);
}

TEST(Timeline, MarksAreInOrderAndUsedAgain) {
  Stream stream = CpuQueue{};
  Timeline timeline;
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(timeline.mark(stream), 0);
    EXPECT_EQ(timeline.mark(stream), 1);
    EXPECT_EQ(timeline.mark(stream), 2);
    EXPECT_GE(timeline.seconds(0, 2), timeline.seconds(0, 1));
    EXPECT_GE(timeline.seconds(0, 1), 0);
    timeline.clear();
  }
  EXPECT_EQ(timeline.num_marks(), 0);
}

}  // namespace
}  // namespace engram
