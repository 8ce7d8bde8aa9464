#include "parallel/expert_exchange.h"

#include "tests/parallel/ranks.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::for_each_world;

constexpr std::initializer_list<int> kSizes = {1, 2, 3, 4, 8};
constexpr int64_t kExpertsPerRank = 3, kWidth = 5;

// Rows that this source sends to each expert; some none, ranks differ.
int64_t rows_to(int source, int64_t expert) { return (source + 2 * expert) % 4; }

// The row's source, expert and number, so that it can be recognised anywhere.
float mark(int source, int64_t expert, int64_t number) {
  return static_cast<float>((source * 100 + expert) * 100 + number);
}

struct Sorted {
  Tensor rows, offsets;  // sorted by expert
};

Sorted sorted_rows(Arena& arena, const Communicator& group, int64_t num_experts) {
  std::vector<int64_t> offsets{0};
  std::vector<float> values;
  for (int64_t expert = 0; expert < num_experts; ++expert) {
    const int64_t count = rows_to(group.rank(), expert);
    for (int64_t i = 0; i < count; ++i) values.insert(values.end(), kWidth, mark(group.rank(), expert, i));
    offsets.push_back(offsets.back() + count);
  }
  return {.rows = test::tensor_of<float>(arena, values, {offsets.back(), kWidth}),
          .offsets = test::tensor_of<int64_t>(arena, offsets, {num_experts + 1})};
}

// By source, then by expert: what dispatch() promises to this rank.
std::vector<float> wanted(const ExpertShard& shard) {
  std::vector<float> values;
  for (int source = 0; source < shard.num_ranks; ++source) {
    for (int64_t expert = shard.first(); expert < shard.first() + shard.count(); ++expert) {
      for (int64_t i = 0; i < rows_to(source, expert); ++i) {
        values.insert(values.end(), kWidth, mark(source, expert, i));
      }
    }
  }
  return values;
}

TEST(ExpertExchange, RowsReachTheirExpertsAndComeBack) {
  for_each_world(kSizes, [](Communicator& group) {
    const ExpertShard shard{
        .num_experts = kExpertsPerRank * group.size(), .num_ranks = group.size(), .rank = group.rank()};
    Stream stream = CpuQueue{};
    Arena arena(Device::kCpu, 1 << 20, /*poison=*/true);
    const Sorted sent = sorted_rows(arena, group, shard.num_experts);
    ExpertExchange exchange(group, shard, 4.0);
    const ExpertRoute route = exchange.route(stream, sent.offsets, sent.rows.size(0));

    const Tensor arrived = arena.take("arrived", DType::kFloat32, {route.num_received, kWidth});
    exchange.dispatch(stream, sent.rows, route, arrived).wait();
    const std::vector<float> want = wanted(shard);
    ASSERT_EQ(arrived.numel(), std::ssize(want));
    EXPECT_TRUE(test::same_bits(arrived, test::tensor_of<float>(arena, want, {arrived.size(0), kWidth})));

    const Tensor back = arena.take("back", DType::kFloat32, {sent.rows.size(0), kWidth});
    exchange.combine(stream, arrived, route, back).wait();
    EXPECT_TRUE(test::same_bits(back, sent.rows));
  });
}

TEST(ExpertExchange, MoreRowsThanThereIsRoomForAreRefusedEverywhere) {
  for_each_world({2, 4}, [](Communicator& group) {
    const ExpertShard shard{.num_experts = group.size(), .num_ranks = group.size(), .rank = group.rank()};
    Stream stream = CpuQueue{};
    Arena arena(Device::kCpu, 1 << 20);
    std::vector<int64_t> all_to_the_last(static_cast<size_t>(group.size() + 1), 0);
    all_to_the_last.back() = 10;
    const Tensor offsets = test::tensor_of<int64_t>(arena, all_to_the_last, {group.size() + 1});
    ExpertExchange tight(group, shard, 1.5), wide(group, shard, 64);
    const std::string message = test::error_of([&] { tight.route(stream, offsets, 10); });
    const std::string last = std::to_string(group.size() - 1), size = std::to_string(group.size());
    EXPECT_TRUE(message.starts_with(
        "expert exchange: rank " + last + " of the " + size + " that share the experts would get " +
        std::to_string(10 * group.size()) +
        " rows and has room for 15, parallel.expert_headroom 1.5 times the 10 that a rank sends; raise it"))
        << message;
    EXPECT_EQ(wide.route(stream, offsets, 10).num_received, group.rank() + 1 == group.size() ? 10 * group.size() : 0);
  });
}

TEST(ExpertExchange, ADryRouteHasAllTheRoomAndMovesNothing) {
  SelfCommunicator nobody;
  ExpertExchange exchange(nobody, {.num_experts = 8, .num_ranks = 4}, 1.5);
  Stream stream = DryQueue{};
  Arena arena = Arena::dry();
  const ExpertRoute route = exchange.route(stream, arena.take("offsets", DType::kInt64, {9}), 101);
  EXPECT_EQ(route.num_received, 152);
  const Tensor rows = exchange.take_rows(stream, DType::kFloat32, 101, kWidth);
  const Tensor arrived = exchange.take_arrived(stream, DType::kFloat32, route.num_received, kWidth);
  exchange.dispatch(stream, rows, route, arrived).wait();
  exchange.combine(stream, arrived, route, rows).wait();
}

}  // namespace
}  // namespace engram
