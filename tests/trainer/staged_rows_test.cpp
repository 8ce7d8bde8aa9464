#include "trainer/staged_rows.h"

#include "tests/trainer/gpu_run.h"
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

void expect_equal_rows(Table& got, Table& want, int64_t slot) {
  for (size_t c = 0; c < kWidth; ++c) {
    const size_t i = static_cast<size_t>(slot) * kWidth + c;
    EXPECT_EQ(got.weight[i], want.weight[i]) << "slot " << slot;
  }
  EXPECT_EQ(got.second[static_cast<size_t>(slot)], want.second[static_cast<size_t>(slot)]);
  EXPECT_EQ(got.count[static_cast<size_t>(slot)], want.count[static_cast<size_t>(slot)]);
}

Tensor tensor_of(std::vector<int64_t>& slots) { return {slots.data(), DType::kInt64, {std::ssize(slots)}}; }

void expect_table_keeps_up(int num_threads, uint32_t one_in) {
  Table table, want;
  Stream stream = CpuQueue{};
  StagedRows stage(Device::kCpu, table.arrays(), num_threads);
  std::vector<int64_t> next = drawn_slots(0, one_in), current;
  stage.prepare(stream, tensor_of(next));
  for (int step = 0; step < 60; ++step) {
    stage.begin(stream);
    current = next;
    ASSERT_EQ(stage.indices().size(0), std::ssize(current));
    ASSERT_EQ(stage.arrays()[0].size(0), std::ssize(current));
    for (size_t i = 0; i < current.size(); ++i) {
      update_row(stage.arrays(), host_span<int64_t>(stage.indices())[i], current[i], step);
      update_row(want.arrays(), current[i], current[i], step);
    }
    if (step % 4 == 2) {
      stage.write_back(stream);  // as before a save: the next set is not prepared yet
      EXPECT_TRUE(table == want);
    }
    next = drawn_slots(step + 1, one_in);
    stage.prepare(stream, tensor_of(next));
    for (int64_t slot = 0; slot < kSlots; ++slot) {
      if (!std::ranges::binary_search(current, slot)) expect_equal_rows(table, want, slot);
    }
    if (step % 9 != 5) continue;
    stage.write_back(stream);
    EXPECT_TRUE(table == want);
    std::vector<int64_t> any{7, 3, 100};
    const Tensor read = stage.read(stream, tensor_of(any));
    for (size_t i = 0; i < any.size() * kWidth; ++i) {
      EXPECT_EQ(host_span<float>(read)[i], want.weight[static_cast<size_t>(any[i / kWidth]) * kWidth + i % kWidth]);
    }
  }
  stage.write_back(stream);
  EXPECT_TRUE(table == want);
}

TEST(StagedRows, WritingBackTwiceWritesNothingTheSecondTime) {
  Table table;
  Stream stream = CpuQueue{};
  StagedRows stage(Device::kCpu, table.arrays(), 1);
  std::vector<int64_t> slots{3, 7};
  stage.prepare(stream, tensor_of(slots));
  stage.begin(stream);
  for (const int count : {40, 41}) {
    table.count[3] = count;
    stage.write_back(stream);
    EXPECT_EQ(table.count[3], count == 40 ? 0 : 41);
  }
}

TEST(StagedRows, KeepsATableUpToDate) {
  for (const int num_threads : {1, 3}) {
    for (const uint32_t one_in : {1, 2, 5, 40}) expect_table_keeps_up(num_threads, one_in);
  }
}

RunConfig placed(RunConfig config, TablePlacement placement) {
  config.parallel.table_placement = placement;
  return config;
}

// What a run gives: the loss of each step, all bits that were read for validation, and those of the end.
struct Outcome {
  std::vector<double> losses;
  std::vector<std::byte> read, end;
  bool operator==(const Outcome&) const = default;
};

// Steps as the training loop takes them; a validation after every fifth.
Outcome overlapped_steps(Replica& r, int64_t num_steps) {
  Outcome outcome;
  BatchMemory memory;
  outcome.losses = test::pipelined_losses(r, num_steps, [&](int64_t step) {
    if (step % 5 != 0) return;
    const int64_t micro_batch = r.config.train.micro_batch;
    const Batch batch = test::made_up_batch(r.config, 900, micro_batch, r.history());
    r.memory->begin_fetch(r.stream, memory.upload(r.stream, batch, r.config.model.engram), micro_batch);
    test::append_bits(r.stream, r.memory->micro_batch(0).fetched->wait(r.stream), outcome.read);
  });
  outcome.end = test::bits_of(r);
  return outcome;
}

void expect_equal_runs(const RunConfig& config, Communicator& world, DType dtype) {
  TinyReplica on_device(placed(config, TablePlacement::kDevice), world, dtype);
  TinyReplica on_host(placed(config, TablePlacement::kHost), world, dtype);
  const Outcome got = overlapped_steps(on_host.replica, 200), want = overlapped_steps(on_device.replica, 200);
  EXPECT_EQ(got.losses, want.losses);
  EXPECT_TRUE(got == want) << "rows differ";
}

// Runs that stop and go on from a checkpoint, with tables in another place or the same, against one that never stopped.
void expect_equal_resumes(const RunConfig& config, int num_ranks, DType dtype) {
  const RunConfig device = placed(config, TablePlacement::kDevice), host = placed(config, TablePlacement::kHost);
  for (const auto& [before, after] : {std::pair{host, host}, {host, device}, {device, host}}) {
    const test::TemporaryDirectory directory;
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica unbroken(device, world, dtype), stopped(before, world, dtype), resumed(after, world, dtype);
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

constexpr auto kKinds = {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kRowwiseAdam,
                         TableOptimizerKind::kRowwiseAdagrad, TableOptimizerKind::kSgd};

TEST(HostTables, TwoHundredStepsEqualThoseOfTablesOnTheDevice) {
  RunConfig config = tiny_run();
  config.train.steps = 200;
  for (const TableOptimizerKind kind : kKinds) {
    config.optimizer.table.kind = kind;
    for (const int num_ranks : {1, 2, 4}) {
      SCOPED_TRACE(std::string(enum_name(kind)) + " on " + std::to_string(num_ranks));
      run_ranks(num_ranks, [&](Communicator& world) { expect_equal_runs(config, world, DType::kFloat32); });
    }
  }
}

TEST(HostTables, ResumeFromOneAnothersCheckpointsBitForBit) { expect_equal_resumes(tiny_run(), 2, DType::kFloat32); }

struct HostTablesGpuTest : test::TrainGpuTest {
  static RunConfig run() {
    RunConfig config = test::on_cuda(test::gpu_run());
    config.train.steps = 200;
    return config;
  }
};

TEST_F(HostTablesGpuTest, TwoHundredStepsEqualThoseOfTablesOnTheDevice) {
  RunConfig config = run();
  for (const TableOptimizerKind kind : kKinds) {
    config.optimizer.table.kind = kind;
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(std::string(enum_name(kind)) + " in " + name_of(dtype));
      SelfCommunicator world;
      expect_equal_runs(config, world, dtype);
    }
  }
}

TEST_F(HostTablesGpuTest, ResumeFromOneAnothersCheckpointsBitForBit) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) expect_equal_resumes(run(), 1, dtype);
}

TEST(HostTables, AreNotForAnOptimizerThatMovesEveryRow) {
  RunConfig config = placed(tiny_run(), TablePlacement::kHost);
  config.optimizer.table.kind = TableOptimizerKind::kAdamDense;
  const ConfigProblems problems = validate(config);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].keys[0], "parallel.table_placement");
  config.parallel.table_placement = TablePlacement::kDevice;
  EXPECT_TRUE(validate(config).empty());
}

}  // namespace
}  // namespace engram
