#include "tests/parallel/device_exchange.h"
#include "tests/parallel/staged_communicator.h"

// Row exchange on one card: one rank alone, and threads as ranks, each with streams of its own.
namespace engram {
namespace {

using test::Card;
using test::CardRowWorld;
using test::StagedCommunicator;

struct RowExchangeGpuTest : ::testing::Test {
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

// Every number of ranks with the group of the host and that of the card.
void for_each_group(std::initializer_list<int> sizes, const std::function<void(Communicator&, Communicator&)>& body) {
  for (const int size : sizes) {
    SCOPED_TRACE("world of " + std::to_string(size));
    if (size == 1) {
      SelfCommunicator host, card;
      body(host, card);
    }
    run_ranks(size, [&](Communicator& world) {
      StagedCommunicator staged(world);
      body(world, staged);
    });
  }
}

TEST_F(RowExchangeGpuTest, FetchAndReturnEqualThoseOfTheHost) {
  for_each_group({1, 2, 3}, [](Communicator& host, Communicator& card) {
    for (const test::RowPattern& pattern : test::row_patterns()) {
      test::expect_device_exchange_equals_host({host, card, 0}, DType::kFloat32, pattern, true);
      test::expect_device_exchange_equals_host({host, card, 0}, DType::kBFloat16, pattern, true);
      test::expect_device_exchange_equals_host({host, card, 0}, DType::kBFloat16, pattern, false);
    }
  });
}

TEST_F(RowExchangeGpuTest, AMillionRequestsOfOneRowEqualThoseOfTheHost) {
  for_each_group({1, 2}, [](Communicator& host, Communicator& card) {
    const test::RowPattern pattern = test::a_million_requests_of_one_row();
    test::expect_device_exchange_equals_host({host, card, 0}, DType::kFloat32, pattern, true);
  });
}

// The plan of the next step is made while the rows of this one are under way; both are used afterwards.
TEST_F(RowExchangeGpuTest, APlanIsMadeUnderTheFetchOfAnother) {
  for_each_group({1, 2}, [](Communicator&, Communicator& group) {
    Arena host(Device::kCpu, int64_t{16} << 20);
    Card card(0);
    CardRowWorld world(group, card, 0, {3000, 7001}, {.width = 24, .dtype = DType::kBFloat16});
    std::vector<int64_t> first = test::drawn_rows(world.layout, group.rank(), 20'000);
    std::vector<int64_t> second = test::drawn_rows(world.layout, group.rank() + 100, 7'000);
    const auto fetch_alone = [&](std::vector<int64_t>& rows) {
      RowPlan plan;
      world.make_plan(rows, plan);
      PendingRows pending = world.exchange.begin_fetch(card.stream, world.table.weight(), plan);
      return card.download(host, pending.wait(card.stream));
    };
    const Tensor want_first = fetch_alone(first), want_second = fetch_alone(second);
    RowPlan plans[2];
    world.make_plan(first, plans[0]);
    PendingRows pending = world.exchange.begin_fetch(card.stream, world.table.weight(), plans[0]);
    world.make_plan(second, plans[1]);
    PendingRows other = world.exchange.begin_fetch(card.stream, world.table.weight(), plans[1]);
    const Tensor got_first = pending.wait(card.stream), got_second = other.wait(card.stream);
    EXPECT_TRUE(test::same_bits(card.download(host, got_first), want_first));
    EXPECT_TRUE(test::same_bits(card.download(host, got_second), want_second));
  });
}

TEST_F(RowExchangeGpuTest, ARowThatIsNoneEndsThePlanOnAllRanks) {
  for_each_group({1, 2}, [](Communicator&, Communicator& group) {
    Card card(0);
    CardRowWorld world(group, card, 0, {300, 64}, {.width = 8, .dtype = DType::kFloat32});
    std::vector<int64_t> rows{0, 5, -1, group.rank() == 0 ? 301 : 1};
    RowPlan plan;
    std::string message;
    try {
      world.make_plan(rows, plan);
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_NE(message.find("rank 0 asks for row 301 at position 3"), std::string::npos) << message;
    rows[3] = 1;
    world.make_plan(rows, plan);
    EXPECT_EQ(plan.num_unique(), 3);
  });
}

TEST_F(RowExchangeGpuTest, MemoryTableHasTheBitsOfTheHost) {
  Arena host(Device::kCpu, int64_t{16} << 20);
  Card card(0);
  Stream cpu = CpuQueue{};
  const RowLayout layout({3000, 7001, 64}, 3);
  for (int shard = 0; shard < 3; ++shard) {
    const MemoryTableOptions options{.width = 33, .dtype = DType::kFloat32, .seed = 5, .deviation = 0.02};
    const MemoryTable want(cpu, layout, shard, options), got(card.stream, layout, shard, options);
    EXPECT_TRUE(test::same_bits(card.download(host, got.weight()), want.weight())) << shard;
  }
}

}  // namespace
}  // namespace engram
