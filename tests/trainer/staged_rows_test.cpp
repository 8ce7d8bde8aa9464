#include "trainer/staged_rows.h"

#include "tests/trainer/checkpoint_testing.h"
#include "trainer/config.h"

// Tables in host memory give the bits of tables on the device.
namespace engram {
namespace {

using test::tiny_run;
using test::TinyReplica;

constexpr int64_t kSlots = 101, kWidth = 3;

// A table with state of three types, and what updates do to it.
struct Table {
  Table() {
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i);
    for (size_t i = 0; i < second.size(); ++i) second[i] = 0.5 * static_cast<double>(i);
  }
  std::vector<Tensor> arrays() {
    return {{weight.data(), DType::kFloat32, {kSlots, kWidth}},
            {second.data(), DType::kFloat64, {kSlots}},
            {count.data(), DType::kInt32, {kSlots}}};
  }
  bool operator==(const Table&) const = default;

  std::vector<float> weight = std::vector<float>(kSlots * kWidth);
  std::vector<double> second = std::vector<double>(kSlots);
  std::vector<int32_t> count = std::vector<int32_t>(kSlots);
};

// Row `row` of the arrays, as step `step` of that slot leaves it.
void update_row(std::span<const Tensor> arrays, int64_t row, int64_t slot, int step) {
  const auto at = static_cast<size_t>(row);
  for (size_t c = 0; c < kWidth; ++c) {
    float& value = host_span<float>(arrays[0])[at * kWidth + c];
    value = value * 0.9f + static_cast<float>(step + slot);
  }
  host_span<double>(arrays[1])[at] += 1.0 / (1 + step);
  host_span<int32_t>(arrays[2])[at] += 1;
}

// About one slot in `one_in`, ascending; in one step of seven none.
std::vector<int64_t> drawn_slots(int step, uint32_t one_in) {
  std::vector<int64_t> slots;
  for (int64_t slot = 0; slot < kSlots && step % 7 != 3; ++slot) {
    if (philox(static_cast<uint64_t>(step), static_cast<uint64_t>(slot), 1).word[0] % one_in == 0)
      slots.push_back(slot);
  }
  return slots;
}

// True where a slot is in neither of the two sets that may be on the device.
bool is_home(int64_t slot, const std::vector<int64_t>& current) {
  return !std::binary_search(current.begin(), current.end(), slot);
}

void expect_equal_rows(Table& got, Table& want, int64_t slot) {
  for (size_t c = 0; c < kWidth; ++c) {
    const size_t i = static_cast<size_t>(slot) * kWidth + c;
    EXPECT_EQ(got.weight[i], want.weight[i]) << "slot " << slot;
  }
  EXPECT_EQ(got.second[static_cast<size_t>(slot)], want.second[static_cast<size_t>(slot)]);
  EXPECT_EQ(got.count[static_cast<size_t>(slot)], want.count[static_cast<size_t>(slot)]);
}

void expect_table_keeps_up(int num_threads, uint32_t one_in) {
  Table home, want;
  Stream stream = CpuQueue{};
  StagedRows stage(Device::kCpu, home.arrays(), num_threads);
  std::vector<int64_t> next = drawn_slots(0, one_in), current;
  stage.prepare(stream, {next.data(), DType::kInt64, {std::ssize(next)}});
  for (int step = 0; step < 60; ++step) {
    stage.begin(stream);
    current = next;
    ASSERT_EQ(stage.places().size(0), std::ssize(current));
    for (size_t row = 0; row < current.size(); ++row) {
      EXPECT_EQ(host_span<int64_t>(stage.places())[row], static_cast<int64_t>(row));
      update_row(stage.arrays(), static_cast<int64_t>(row), current[row], step);
      update_row(want.arrays(), current[row], current[row], step);
    }
    next = drawn_slots(step + 1, one_in);
    stage.prepare(stream, {next.data(), DType::kInt64, {std::ssize(next)}});
    for (int64_t slot = 0; slot < kSlots; ++slot) {
      if (is_home(slot, current)) expect_equal_rows(home, want, slot);
    }
    if (step % 9 != 5) continue;
    stage.settle(stream);  // as before a save: between a set that was prepared and its turn
    EXPECT_TRUE(home == want);
    std::vector<int64_t> any{7, 3, 100};
    const Tensor read = stage.read(stream, {any.data(), DType::kInt64, {3}});
    EXPECT_EQ(read.size(0), 3);
    EXPECT_EQ(host_span<float>(read)[4], want.weight[3 * kWidth + 1]);
  }
  stage.settle(stream);
  EXPECT_TRUE(home == want);
}

TEST(StagedRows, KeepsATableUpToDate) {
  for (const int num_threads : {1, 3}) {
    for (const uint32_t one_in : {1, 2, 5, 40}) expect_table_keeps_up(num_threads, one_in);
  }
}

RunConfig placed(TablePlacement placement, TableOptimizerKind kind) {
  RunConfig config = tiny_run();
  config.train.steps = 200;
  config.parallel.table_placement = placement;
  config.optimizer.table.kind = kind;
  return config;
}

// Steps as the training loop takes them, each prepared under the one before; a validation after every fifth.
std::vector<double> overlapped_steps(Replica& r, int64_t num_steps) {
  std::vector<double> losses;
  BatchMemory memory;
  PreparedStep prepared = prepare(r, test::made_up_batch_of(r));
  for (int64_t i = 1; i <= num_steps; ++i) {
    losses.push_back(train_step(r, prepared, {}).wait().loss);
    if (i < num_steps) prepared = prepare(r, test::made_up_batch_of(r));
    if (i % 5 != 0) continue;
    const Batch batch = test::made_up_batch(r.config, 900, r.config.train.micro_batch, r.history());
    r.memory->begin_fetch(r.stream, memory.upload(r.stream, batch, r.config.model.engram), 1);
    losses.push_back(test::element(r.memory->micro_batch(0).fetched->wait(r.stream), 0));
  }
  return losses;
}

TEST(HostTables, TwoHundredStepsEqualThoseOfTablesOnTheDevice) {
  for (const TableOptimizerKind kind : {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kRowwiseAdam,
                                        TableOptimizerKind::kRowwiseAdagrad, TableOptimizerKind::kSgd}) {
    for (const int num_ranks : {1, 2, 4}) {
      SCOPED_TRACE(std::string(enum_name(kind)) + " on " + std::to_string(num_ranks));
      run_ranks(num_ranks, [&](Communicator& world) {
        TinyReplica on_device(placed(TablePlacement::kDevice, kind), world, DType::kFloat32);
        TinyReplica on_host(placed(TablePlacement::kHost, kind), world, DType::kFloat32);
        EXPECT_EQ(overlapped_steps(on_host.replica, 200), overlapped_steps(on_device.replica, 200));
        EXPECT_TRUE(test::bits_of(on_host.replica) == test::bits_of(on_device.replica));
      });
    }
  }
}

TEST(HostTables, ResumeFromOneAnothersCheckpointsBitForBit) {
  const RunConfig device = placed(TablePlacement::kDevice, TableOptimizerKind::kAdamLazy);
  const RunConfig host = placed(TablePlacement::kHost, TableOptimizerKind::kAdamLazy);
  for (const auto& [before, after] : {std::pair{host, host}, {host, device}, {device, host}}) {
    const test::TemporaryDirectory directory;
    run_ranks(2, [&](Communicator& world) {
      TinyReplica unbroken(device, world, DType::kFloat32), stopped(before, world, DType::kFloat32),
          resumed(after, world, DType::kFloat32);
      test::made_up_steps(unbroken.replica, 40);
      test::made_up_steps(stopped.replica, 20);
      save_checkpoint(stopped.replica, test::tiny_identity(), directory.path());
      load_checkpoint(resumed.replica, test::tiny_identity(), newest_checkpoint(directory.path()).value(),
                      LoadScope::kResume);
      test::made_up_steps(resumed.replica, 20);
      EXPECT_TRUE(test::bits_of(resumed.replica) == test::bits_of(unbroken.replica));
    });
  }
}

TEST(HostTables, AreNotForAnOptimizerThatMovesEveryRow) {
  RunConfig config = placed(TablePlacement::kHost, TableOptimizerKind::kAdamDense);
  const ConfigProblems problems = validate(config);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].keys[0], "parallel.table_placement");
  config.parallel.table_placement = TablePlacement::kDevice;
  EXPECT_TRUE(validate(config).empty());
}

}  // namespace
}  // namespace engram
