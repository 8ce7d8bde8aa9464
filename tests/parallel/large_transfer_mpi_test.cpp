#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "tests/parallel/ranks.h"

// Transfers of more than 2^31 bytes, where an int count or offset of bytes would wrap.
namespace engram {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Zeros that take no physical memory until they are written.
class LargeBytes {
 public:
  LargeBytes(int64_t num_rows, int64_t row_bytes)
      : memory_(static_cast<uint8_t*>(std::calloc(static_cast<size_t>(num_rows) + 1, static_cast<size_t>(row_bytes)))),
        shape_{num_rows, row_bytes} {}
  Tensor tensor() const { return {memory_.get(), DType::kUInt8, shape_}; }
  uint8_t& at(int64_t index) { return memory_.get()[index]; }

 private:
  std::unique_ptr<uint8_t, Free> memory_;
  std::array<int64_t, 2> shape_;
};

constexpr int64_t kRowBytes = (1 << 20) + 3;
constexpr int64_t kRows = 2100;
static_assert(kRows * kRowBytes > int64_t{1} << 31);

TEST(LargeTransferSlow, RowsBeyondTwoToThe31Bytes) {
  test::for_each_world({4}, [](Communicator& world) {
    // Rank 0 sends one row to rank 1 and all the others to rank 2, far into its memory.
    const bool sends = world.rank() == 0, receives = world.rank() == 2;
    LargeBytes send(sends ? kRows + 1 : 0, kRowBytes);
    LargeBytes recv(receives ? kRows : world.rank() == 1, kRowBytes);
    const auto mark = [](int64_t row) { return static_cast<uint8_t>(1 + row % 251); };
    for (int64_t row = 0; row < send.tensor().size(0); ++row) send.at(row * kRowBytes + row % kRowBytes) = mark(row);
    std::vector<int64_t> send_counts(4, 0), recv_counts(4, 0);
    if (sends) send_counts = {0, 1, kRows, 0};
    recv_counts[0] = recv.tensor().size(0);
    Stream stream = CpuQueue{};
    world.all_to_all_rows(stream, send.tensor(), send_counts, recv.tensor(), recv_counts).wait();
    for (int64_t row = 0; receives && row < kRows; ++row) {
      ASSERT_EQ(recv.at(row * kRowBytes + row + 1), mark(row + 1)) << "row " << row;
      ASSERT_EQ(recv.at(row * kRowBytes + row), 0) << "row " << row;
    }
  });
}

TEST(LargeTransferSlow, PartsBeyondTwoToThe31Bytes) {
  test::for_each_world({4}, [](Communicator& world) {
    // Two groups, so that only one rank needs the memory.
    const auto pair = world.split(world.rank() < 2 ? 0 : 1);
    constexpr int64_t kBytes = (int64_t{1} << 31) + 12345;
    const bool large = world.rank() < 2;
    LargeBytes data(1, large ? kBytes : 1);
    const std::initializer_list<int64_t> marks = {0, (int64_t{1} << 30) - 1, int64_t{1} << 30, kBytes - 1};
    for (const int64_t at : marks) {
      if (world.rank() == 1) data.at(at) = static_cast<uint8_t>(at % 7 + 1);
    }
    Stream stream = CpuQueue{};
    pair->broadcast(stream, data.tensor(), 1).wait();
    for (const int64_t at : marks) {
      if (large) {
        ASSERT_EQ(data.at(at), at % 7 + 1) << "byte " << at;
      }
    }
  });
}

}  // namespace
}  // namespace engram
