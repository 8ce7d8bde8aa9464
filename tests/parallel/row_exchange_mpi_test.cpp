#include "kernels/row_update.h"
#include "tests/parallel/row_world.h"

namespace engram {
namespace {

using test::RowPattern;
using test::RowWorld;

constexpr std::initializer_list<int> kSizes = {1, 2, 3, 4, 8};
// Uneven on purpose: the last is far shorter than a block.
const std::vector<int64_t> kTables{300, 1031, 64};

double random_gradient(int rank, int64_t i, int64_t column) {
  return double{
      normal(21, RandomDomain::kSampling, static_cast<uint32_t>(rank), static_cast<uint64_t>(i * 64 + column))};
}
// Sums of these are exact in float32 in any order.
double integer_gradient(int rank, int64_t i, int64_t column) {
  return std::round(64 * random_gradient(rank, i, column)) / 8;
}

template <class T>
void expect_fetch_equals_gather(Communicator& group, const std::vector<int64_t>& tables, const RowPattern& pattern,
                                int64_t width) {
  Arena arena(Device::kCpu, int64_t{8} << 20, /*poison=*/true);
  RowWorld world(group, tables, width, dtype_of<T>);
  std::vector<int64_t> rows = pattern.rows(world.layout, group.rank(), group.size());
  const Tensor fetched = world.fetch(rows);
  const Tensor got = arena.take("got", fetched.dtype, {std::ssize(rows), width});
  row_gather(world.stream, fetched, world.plan.inverse(), got);

  const RowLayout whole_layout(tables, 1);
  const MemoryTable whole(world.stream, whole_layout, 0,
                          {.width = width, .dtype = dtype_of<T>, .seed = 9, .deviation = 1.0});
  const Tensor want = arena.take("want", fetched.dtype, {std::ssize(rows), width});
  row_gather(world.stream, whole.weight(), test::rows_tensor(rows), want);
  EXPECT_TRUE(test::same_bits(got, want)) << pattern.name << ", width " << width;
}

TEST(RowExchangeTest, FetchedRowsEqualAGatherOnOneRank) {
  test::for_each_world(kSizes, [](Communicator& group) {
    for (const RowPattern& pattern : test::row_patterns()) {
      for (const int64_t width : {1, 5, 33}) {
        expect_fetch_equals_gather<float>(group, kTables, pattern, width);
        expect_fetch_equals_gather<double>(group, kTables, pattern, width);
      }
    }
  });
}

template <class T>
void expect_sums_equal_oracle(Communicator& group, const std::vector<int64_t>& tables, const RowPattern& pattern,
                              int64_t width) {
  Arena arena(Device::kCpu, int64_t{8} << 20, /*poison=*/true);
  RowWorld world(group, tables, width, dtype_of<T>);
  std::vector<int64_t> rows = pattern.rows(world.layout, group.rank(), group.size());
  world.fetch(rows);
  const Tensor merged = world.return_gradients(
      arena, test::gradients_of<T>(arena, group.rank(), std::ssize(rows), width, random_gradient));

  const auto slots = host_span<const int64_t>(world.plan.own_slots());
  const auto values = host_span<const T>(merged);
  size_t at = 0;
  int64_t previous = -1;
  for (const auto& [row, want] : test::fold_by_rank<T>(pattern, world.layout, width, random_gradient)) {
    if (world.layout.owner(row) != group.rank()) continue;
    ASSERT_LT(at, slots.size()) << pattern.name;
    EXPECT_EQ(slots[at], world.layout.slot(row)) << pattern.name;
    EXPECT_GT(slots[at], previous);
    previous = slots[at];
    const auto got = values.subspan(at++ * static_cast<size_t>(width), static_cast<size_t>(width));
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin())) << pattern.name << ", row " << row;
  }
  EXPECT_EQ(at, slots.size()) << pattern.name;
}

TEST(RowExchangeTest, GradientSumsEqualAFoldInRankOrder) {
  test::for_each_world(kSizes, [](Communicator& group) {
    for (const RowPattern& pattern : test::row_patterns()) {
      for (const int64_t width : {1, 7}) {
        expect_sums_equal_oracle<float>(group, kTables, pattern, width);
        expect_sums_equal_oracle<double>(group, kTables, pattern, width);
      }
    }
  });
}

enum class Rule { kSgd, kAdamLazy, kAdamDense, kRowwiseAdam, kRowwiseAdagrad };

// A table optimizer and its state for one shard.
struct Optimizer {
  Optimizer(Arena& arena, const MemoryTable& table)
      : m(test::constant_tensor(arena, 0.0f, {table.num_slots(), table.width()})),
        v(test::constant_tensor(arena, 0.0f, {table.num_slots(), table.width()})),
        row_v(test::constant_tensor(arena, 0.0f, {table.num_slots()})),
        count(test::constant_tensor(arena, int32_t{0}, {table.num_slots()})) {}

  void update(Rule rule, int64_t step, RowWorld& world, const Tensor& merged) const {
    const Tensor &slots = world.plan.own_slots(), &weight = world.table.weight();
    const RowAdamOptions options{.lr = 0.1};
    double values[] = {1, 0.25, static_cast<double>(step), 1};  // see kernels/update_control.h
    const Tensor control(values, DType::kFloat64, {4});
    Stream& stream = world.stream;
    if (rule == Rule::kSgd) row_update_sgd(stream, control, slots, merged, 0.1, weight);
    if (rule == Rule::kAdamLazy) row_update_adam_lazy(stream, control, slots, merged, options, weight, {m, v}, count);
    if (rule == Rule::kAdamDense) row_update_adam_dense(stream, control, slots, merged, options, weight, {m, v});
    if (rule == Rule::kRowwiseAdam) {
      row_update_rowwise_adam(stream, control, slots, merged, options, weight, {m, row_v}, count);
    }
    if (rule == Rule::kRowwiseAdagrad) {
      row_update_rowwise_adagrad(stream, control, slots, merged, {.lr = 0.1}, weight, row_v);
    }
  }

  Tensor m, v, row_v, count;
};

// Two steps of an optimizer on rows whose gradients also depend on the fetched values (in exact arithmetic), so that a
// wrong or stale row shows.
void train(Arena& arena, RowWorld& world, Rule rule, std::vector<int64_t>& rows,
           const std::function<std::pair<int, int64_t>(int64_t)>& origin) {
  const Optimizer optimizer(arena, world.table);
  const int64_t width = world.table.width();
  for (int step = 0; step < 2; ++step) {
    const Tensor fetched = world.fetch(rows);
    const Tensor gradients = arena.take("gradients", DType::kFloat32, {std::ssize(rows), width});
    row_gather(world.stream, fetched, world.plan.inverse(), gradients);
    for (int64_t i = 0; i < gradients.numel(); ++i) {
      const auto [rank, request] = origin(i / width);
      const double value = std::round(8 * test::element(gradients, i)) / 8;
      test::set_element(gradients, i, value + integer_gradient(rank, request, i % width + step));
    }
    optimizer.update(rule, step + 1, world, world.return_gradients(arena, gradients));
  }
}

void expect_training_equals_one_rank(Communicator& group, const std::vector<int64_t>& tables, const RowPattern& pattern,
                                     Rule rule, int64_t width = 5) {
  Arena arena(Device::kCpu, int64_t{32} << 20, /*poison=*/true);
  RowWorld world(group, tables, width, DType::kFloat32);
  std::vector<int64_t> rows = pattern.rows(world.layout, group.rank(), group.size());
  train(arena, world, rule, rows, [&](int64_t i) { return std::pair(group.rank(), i); });

  SelfCommunicator self;
  RowWorld alone(self, tables, width, DType::kFloat32);
  std::vector<int64_t> all_rows;
  std::vector<std::pair<int, int64_t>> origins;
  for (int rank = 0; rank < group.size(); ++rank) {
    const std::vector<int64_t> part = pattern.rows(world.layout, rank, group.size());
    for (int64_t i = 0; i < std::ssize(part); ++i) origins.emplace_back(rank, i);
    all_rows.insert(all_rows.end(), part.begin(), part.end());
  }
  train(arena, alone, rule, all_rows, [&](int64_t i) { return origins[static_cast<size_t>(i)]; });

  for (const RowLayout::Block& block : world.layout.blocks(group.rank())) {
    const Tensor got = world.table.weight().rows(block.first_slot, block.num_rows);
    const int64_t first = alone.layout.global_row(block.table, block.first_row);
    EXPECT_TRUE(test::same_bits(got, alone.table.weight().rows(alone.layout.slot(first), block.num_rows)))
        << pattern.name << ", rule " << static_cast<int>(rule) << ", table " << block.table << " row "
        << block.first_row;
  }
}

TEST(RowExchangeTest, TwoStepsEqualTheOneRankRun) {
  test::for_each_world(kSizes, [](Communicator& group) {
    for (const RowPattern& pattern : test::row_patterns()) {
      for (const Rule rule :
           {Rule::kSgd, Rule::kAdamLazy, Rule::kAdamDense, Rule::kRowwiseAdam, Rule::kRowwiseAdagrad}) {
        expect_training_equals_one_rank(group, kTables, pattern, rule);
      }
    }
  });
}

// Each through plan, fetch, sum, return and update.
TEST(RowExchangeTest, AMillionRequestsOfOneRow) {
  test::for_each_world({1, 3}, [](Communicator& group) {
    const RowPattern pattern = test::a_million_requests_of_one_row();
    expect_fetch_equals_gather<float>(group, kTables, pattern, 1);
    expect_sums_equal_oracle<float>(group, kTables, pattern, 1);
    expect_training_equals_one_rank(group, kTables, pattern, Rule::kAdamLazy, 1);
  });
}

TEST(RowExchangeTest, RequestsAreConserved) {
  test::for_each_world(kSizes, [](Communicator& group) {
    Arena arena(Device::kCpu, int64_t{8} << 20, /*poison=*/true);
    for (const RowPattern& pattern : test::row_patterns()) {
      RowWorld world(group, kTables, 3, DType::kFloat32);
      std::vector<int64_t> rows = pattern.rows(world.layout, group.rank(), group.size());
      world.fetch(rows);
      world.return_gradients(arena,
                             test::gradients_of<float>(arena, group.rank(), std::ssize(rows), 3, random_gradient));
      const RowStats& stats = world.plan.stats();
      EXPECT_EQ(stats.requests + stats.masked, std::ssize(rows)) << pattern.name;
      EXPECT_EQ(stats.masked, std::count(rows.begin(), rows.end(), -1)) << pattern.name;
      std::vector<int64_t> sums{stats.unique, stats.served};
      all_reduce_sum(group, std::span(sums));
      EXPECT_EQ(sums[0], sums[1]) << pattern.name;
    }
  });
}

// Two plans in flight, used in the other order, and a third used for evaluation alone.
TEST(RowExchangeTest, PlansDoNotDisturbEachOther) {
  test::for_each_world({1, 3, 4}, [](Communicator& group) {
    RowWorld world(group, kTables, 5, DType::kFloat32);
    std::vector<int64_t> first = test::drawn_rows(world.layout, group.rank(), 200);
    std::vector<int64_t> second = test::drawn_rows(world.layout, group.rank() + 100, 77);
    RowPlan plans[2];
    world.exchange.plan(world.stream, test::rows_tensor(first), plans[0]);
    world.exchange.plan(world.stream, test::rows_tensor(second), plans[1]);
    PendingRows pending = world.exchange.begin_fetch(world.stream, world.table.weight(), plans[0]);
    PendingRows other = world.exchange.begin_fetch(world.stream, world.table.weight(), plans[1]);
    const Tensor got_first = pending.wait(world.stream), got_second = other.wait(world.stream);
    EXPECT_TRUE(test::same_bits(got_first, world.fetch(first)));
    EXPECT_TRUE(test::same_bits(got_second, world.fetch(second)));
  });
}

TEST(RowExchangeTest, StatisticsCountWhatMoved) {
  test::for_each_world({2}, [](Communicator& group) {
    RowWorld world(group, {600, 600}, 3, DType::kFloat32);  // blocks of 256: rank 0 owns rows 0 to 255
    std::vector<int64_t> rows{0, 256, 0, -1, 257, 256};
    if (group.rank() == 1) rows = {256, 5};
    Arena arena(Device::kCpu, 1 << 20);
    world.fetch(rows);
    world.return_gradients(arena, test::gradients_of<float>(arena, group.rank(), std::ssize(rows), 3, random_gradient));
    const RowStats& stats = world.plan.stats();
    const bool first = group.rank() == 0;
    EXPECT_EQ(stats.requests, first ? 5 : 2);
    EXPECT_EQ(stats.masked, first ? 1 : 0);
    EXPECT_EQ(stats.unique, first ? 3 : 2);
    EXPECT_EQ(stats.served, first ? 2 : 3);
    EXPECT_EQ(stats.own_unique, 2);
    const int64_t fixed = 72 + 2 * 8, sent_slots = first ? 2 : 1;  // header and hashes
    constexpr int64_t kRows = 3 * 12;                              // one row and two sums, or two rows and one sum
    EXPECT_EQ(stats.bytes_sent, fixed + 8 * sent_slots + kRows);
  });
}

// Far more ranks than cores; some have no block, some ask for nothing.
TEST(RowExchangeSlow, SixtyFourRanks) {
  const RowPattern pattern{"sixty-four ranks", [](const RowLayout& layout, int rank, int) {
                             return test::drawn_rows(layout, rank, rank % 7 == 0 ? 0 : 100 + rank);
                           }};
  test::for_each_world({64}, [&](Communicator& group) {
    expect_fetch_equals_gather<float>(group, {3000, 7001, 64}, pattern, 5);
    expect_sums_equal_oracle<float>(group, {3000, 7001, 64}, pattern, 5);
    expect_training_equals_one_rank(group, {3000, 7001, 64}, pattern, Rule::kAdamLazy);
  });
}

}  // namespace
}  // namespace engram
