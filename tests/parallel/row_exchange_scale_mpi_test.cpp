#include "kernels/row_update.h"
#include "tests/parallel/row_world.h"

// The exchange on far more ranks than cores, with the rows that a rank sends to one peer on 1024 GPUs where there are
// 64 ranks, and on 4096 where there are 256 (docs/results/scale-model.md).
namespace engram {
namespace {

using test::RowWorld;

#if ENGRAM_TESTS_UNDER_MPI
constexpr std::initializer_list<int> kSizes = {64, 128, 256};
#else
constexpr std::initializer_list<int> kSizes = {64};
#endif

constexpr int64_t kWidth = 40;                        // bytes of 80 bfloat16 values
const std::vector<int64_t> kTables{120'011, 72'007};  // a rank asks for a quarter of their rows

// How often a rank asks for a row: in one case of eight once, in another twice.
int times_asked(int rank, int64_t row) {
  const uint32_t draw = philox(static_cast<uint64_t>(rank), static_cast<uint64_t>(row), 23).word[0] % 8;
  return draw < 2 ? static_cast<int>(draw) + 1 : 0;
}

// The gradient of a rank's first or second request for a row, less 0.1 for each column on the left.
float first_gradient(int rank, int64_t row, int time) {
  return uniform(philox(static_cast<uint64_t>(rank), static_cast<uint64_t>(row), 29).word[time]);
}
float gradient(float first, int64_t column) { return first - 0.1f * static_cast<float>(column); }

// First every row that is asked for, then, in the other direction, those that are asked for twice.
std::vector<int64_t> requests_of(int rank, const RowLayout& layout) {
  std::vector<int64_t> rows, again;
  for (int64_t row = 0; row < layout.end_row(); ++row) {
    if (!layout.is_row(row)) continue;
    const int times = times_asked(rank, row);
    if (times > 0) rows.push_back(row);
    if (times > 1) again.push_back(row);
  }
  rows.insert(rows.end(), again.rbegin(), again.rend());
  return rows;
}

// Sums of a row's gradients: of each rank over its requests, then over the ranks in their order.
std::vector<float> merged_gradient(int64_t row, int num_ranks) {
  std::vector<float> total(kWidth);
  for (int rank = 0; rank < num_ranks; ++rank) {
    const int times = times_asked(rank, row);
    if (times == 0) continue;
    const float once = first_gradient(rank, row, 0), twice = first_gradient(rank, row, 1);
    for (int64_t c = 0; c < kWidth; ++c) {
      const float sum = times == 1 ? gradient(once, c) : gradient(once, c) + gradient(twice, c);
      total[static_cast<size_t>(c)] += sum;
    }
  }
  return total;
}

Tensor request_gradients(Arena& arena, int rank, std::span<const int64_t> rows) {
  const Tensor result = arena.take("gradients", DType::kFloat32, {std::ssize(rows), kWidth});
  std::map<int64_t, int> seen;
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    const float first = first_gradient(rank, row, seen[row]++);
    for (int64_t c = 0; c < kWidth; ++c) test::set_element(result, i * kWidth + c, double{gradient(first, c)});
  }
  return result;
}

// A row as it was made, then as one step of descent leaves it.
std::vector<float> initial_row(const RowLayout& layout, int64_t row) {
  const int64_t table = row < layout.global_row(1, 0) ? 0 : 1;
  const int64_t first = (row - layout.global_row(table, 0)) * kWidth;
  std::vector<float> values(kWidth);
  for (int64_t c = 0; c < kWidth; ++c) {
    values[static_cast<size_t>(c)] =
        normal(9, RandomDomain::kTableInit, static_cast<uint32_t>(table), static_cast<uint64_t>(first + c));
  }
  return values;
}
std::vector<float> updated_row(const RowLayout& layout, int64_t row) {
  std::vector<float> values = initial_row(layout, row);
  const std::vector<float> gradients = merged_gradient(row, layout.num_shards());
  for (size_t c = 0; c < kWidth; ++c) values[c] -= gradients[c];
  return values;
}

// Rows that differ from what one rank alone would have for them.
int64_t count_wrong(std::span<const int64_t> rows, const Tensor& values,
                    const std::function<std::vector<float>(int64_t row)>& wanted) {
  const auto got = host_span<const float>(values);
  int64_t num_wrong = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = got.subspan(i * kWidth, kWidth);
    const std::vector<float> want = wanted(rows[i]);
    num_wrong += std::equal(row.begin(), row.end(), want.begin()) ? 0 : 1;
  }
  return num_wrong;
}

// Bytes that the protocol needs: a header and the slots to plan; a hash and the rows, in each direction.
int64_t bytes_by_hand(const RowPlan& plan, int rank, int num_ranks) {
  const auto own = static_cast<size_t>(rank);
  const int64_t asked = plan.num_unique() - plan.send_counts()[own];
  const int64_t served = plan.num_served() - plan.request_counts()[own];
  constexpr int64_t kSlot = 8, kHash = 8, kRow = kWidth * 4;
  return (num_ranks - 1) * (static_cast<int64_t>(sizeof(RowHeader)) + 2 * kHash) + asked * kSlot +
         (asked + served) * kRow;
}

// The rows of this rank's requests, in their order.
Tensor expand(Arena& arena, RowWorld& world, const Tensor& fetched) {
  const Tensor rows = arena.take("expanded", DType::kFloat32, {world.plan.num_requests(), kWidth});
  row_gather(world.stream, fetched, world.plan.inverse(), rows);
  return rows;
}

std::vector<int64_t> own_rows(const RowWorld& world, int rank) {
  std::vector<int64_t> rows;
  for (const int64_t slot : host_span<const int64_t>(world.plan.own_slots())) {
    rows.push_back(world.layout.global_row_at(rank, slot));
  }
  return rows;
}

TEST(RowExchangeScaleSlow, MessagesOfALargeCaseOnSixtyFourRanks) {
  test::for_each_world(kSizes, [](Communicator& group) {
    const int rank = group.rank(), num_ranks = group.size();
    RowWorld world(group, kTables, kWidth, DType::kFloat32);
    const auto initial = [&](int64_t row) { return initial_row(world.layout, row); };
    const auto updated = [&](int64_t row) { return updated_row(world.layout, row); };
    const auto merged_of = [&](int64_t row) { return merged_gradient(row, num_ranks); };
    Arena arena(Device::kCpu, int64_t{64} << 20, /*poison=*/true);
    std::vector<int64_t> rows = requests_of(rank, world.layout);

    EXPECT_EQ(count_wrong(rows, expand(arena, world, world.fetch(rows)), initial), 0);
    const Tensor merged = world.return_gradients(arena, request_gradients(arena, rank, rows));
    EXPECT_EQ(count_wrong(own_rows(world, rank), merged, merged_of), 0);
    EXPECT_EQ(world.plan.stats().bytes_sent, bytes_by_hand(world.plan, rank, num_ranks));

    double control[] = {1, 1, 1, 1};  // see kernels/update_control.h
    row_update_sgd(world.stream, Tensor(control, DType::kFloat64, {4}), world.plan.own_slots(), merged, 1.0,
                   world.table.weight());
    EXPECT_EQ(count_wrong(rows, expand(arena, world, world.fetch(rows)), updated), 0);
  });
}

}  // namespace
}  // namespace engram
