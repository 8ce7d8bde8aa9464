#include "kernels/core/event.h"
#include "tests/gpu_testing.h"

namespace engram {
namespace {

struct EventGpuTest : test::GpuFixture {};

// A long chain of copies on one stream; the other reads the end of the chain.
TEST_F(EventGpuTest, HoldsAnotherStreamUntilTheMarkIsReached) {
  Stream other = make_stream(Device::kCuda, 0, StreamPriority::kHigh);
  constexpr int64_t kCount = int64_t{8} << 20;
  const Tensor values = host.take("values", DType::kFloat32, {kCount});
  for (int64_t i = 0; i < kCount; ++i) test::set_element(values, i, static_cast<double>(i % 1021));
  const Tensor links[] = {poisoned(DType::kFloat32, {kCount}), poisoned(DType::kFloat32, {kCount})};
  const Tensor read = poisoned(DType::kFloat32, {kCount});
  copy(stream, values, links[0]);
  for (int i = 0; i < 100; ++i) copy(stream, links[i % 2], links[(i + 1) % 2]);
  const Tensor last = poisoned(DType::kFloat32, {kCount});  // waits for the stream: what follows is queued anew
  for (int i = 0; i < 100; ++i) copy(stream, links[i % 2], links[(i + 1) % 2]);
  copy(stream, links[0], last);
  Event event;
  EXPECT_TRUE(event.is_reached());
  event.record(stream);
  event.hold(other);
  copy(other, last, read);
  synchronize(other);
  EXPECT_TRUE(event.is_reached());
  EXPECT_TRUE(test::same_bits(to_host(read), values));
}

TEST_F(EventGpuTest, PinnedMemoryIsReadAndWrittenByCopies) {
  Buffer from = Buffer::pinned(400), to = Buffer::pinned(400);
  const Tensor source = from.tensor(DType::kInt32, {100}), target = to.tensor(DType::kInt32, {100});
  for (int i = 0; i < 100; ++i) static_cast<int32_t*>(source.data)[i] = 3 * i;
  const Tensor middle = poisoned(DType::kInt32, {100});
  copy(stream, source, middle);
  copy(stream, middle, target);
  Event event;
  event.record(stream);
  event.synchronize();
  EXPECT_TRUE(test::same_bits(source, target));
}

}  // namespace
}  // namespace engram
