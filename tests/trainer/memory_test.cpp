#include "kernels/row_gather.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/host_memory.h"

// What a batch reads from memory, prepared in good time or not.
namespace engram {
namespace {

StepBatch batch_of(Replica& r, BatchMemory& memory, int64_t first) {
  return memory.upload(r.stream, test::made_up_batch(r.config, first, 2, r.history()), r.config.model.engram);
}

// The rows that the micro-batches of the fetch at hand read, one after the other.
std::vector<float> values_read(Replica& r) {
  Arena::Scope scope(r.arena);
  std::vector<float> values;
  for (int64_t i = 0; i < 2; ++i) {
    const MemoryRows memory = r.memory->micro_batch(i);
    const Tensor& rows = memory.fetched->wait(r.stream);
    for (const Tensor& index : memory.index) {
      const Tensor read = r.arena.take("read", rows.dtype, {index.size(0), rows.size(1)});
      row_gather(r.stream, rows, index, read);
      for (const float value : host_span<float>(read)) values.push_back(value);
    }
  }
  return values;
}

std::vector<float> values_of(Replica& r, const StepBatch& batch) {
  r.memory->begin_fetch(r.stream, batch, 1);
  return values_read(r);
}

TEST(MemoryTest, APreparedBatchWaitsForItsTurn) {
  for (const int num_ranks : {1, 2}) {
    run_ranks(num_ranks, [](Communicator& world) {
      test::TinyReplica tiny(test::tiny_run(), world, DType::kFloat32);
      Replica& r = tiny.replica;
      const int64_t begin = 10 * world.rank();
      BatchMemory memory[3];
      const StepBatch first = batch_of(r, memory[0], begin), second = batch_of(r, memory[1], begin + 2),
                      third = batch_of(r, memory[2], begin + 4);
      const auto want_first = values_of(r, first), want_second = values_of(r, second);
      const auto want_third = values_of(r, third);
      ASSERT_NE(want_first, want_second);
      ASSERT_NE(want_second, want_third);

      const auto begin_prepare = [&](const StepBatch& batch) { r.memory->begin_prepare(r.stream, batch, 1); };
      const auto finish_prepare = [&] { r.memory->finish_prepare(r.stream); };
      begin_prepare(first);
      finish_prepare();
      r.memory->begin_fetch(r.stream);
      begin_prepare(second);  // while the first is still to be read
      EXPECT_EQ(values_read(r), want_first);
      EXPECT_EQ(values_of(r, third), want_third);  // an evaluation comes between
      finish_prepare();
      EXPECT_EQ(values_of(r, third), want_third);  // and another
      begin_prepare(third);                        // while the second waits
      EXPECT_EQ(values_of(r, first), want_first);
      r.memory->begin_fetch(r.stream);
      EXPECT_EQ(values_read(r), want_second);
      finish_prepare();
      r.memory->begin_fetch(r.stream);
      EXPECT_EQ(values_read(r), want_third);
    });
  }
}

// Shuffled, a sequence reads what the next one of the batch would have read.
TEST(MemoryTest, ShuffledSequencesReadTheRowsOfOneAnother) {
  SelfCommunicator world;
  RunConfig config = test::tiny_run();
  const auto read = [&](Addressing addressing) {
    config.model.engram.addressing = addressing;
    test::TinyReplica tiny(config, world, DType::kFloat32);
    BatchMemory memory;
    const StepBatch batch = batch_of(tiny.replica, memory, 0);
    EXPECT_NE(host_span<int32_t>(batch.tokens)[0], host_span<int32_t>(batch.tokens)[config.data.seq_len]);
    return values_of(tiny.replica, batch);  // one sequence per micro-batch
  };
  const std::vector<float> own = read(Addressing::kHash), shuffled = read(Addressing::kShuffled);
  ASSERT_EQ(own.size(), shuffled.size());
  const auto half = static_cast<std::ptrdiff_t>(own.size() / 2);
  EXPECT_TRUE(std::equal(own.begin(), own.begin() + half, shuffled.begin() + half));
  EXPECT_TRUE(std::equal(own.begin() + half, own.end(), shuffled.begin()));
  EXPECT_NE(own, shuffled);
}

TEST(MemoryTest, RowsThatNobodyPreparedAreNotFetched) {
  SelfCommunicator world;
  test::TinyReplica tiny(test::tiny_run(), world, DType::kFloat32);
  Replica& r = tiny.replica;
  const std::string message = test::error_of([&] { r.memory->begin_fetch(r.stream); });
  EXPECT_NE(message.find("a fetch of rows that were not prepared"), std::string::npos) << message;
}

TEST(MemoryTest, TablesNeedRoomInTheMemoryOfTheirHost) {
  const MemoryLimit limit{1000, "a file"};
  check_room_for_tables(250, 4, limit);
  check_room_for_tables(251, 4, {});  // not known
  EXPECT_THROW(check_room_for_tables(251, 4, limit), Unavailable);
  const std::string message = test::error_of([&] { check_room_for_tables(251, 4, limit); });
  EXPECT_NE(message.find("take 1004 bytes of its memory, of which 1000 are left (a file)"), std::string::npos)
      << message;
}

TEST(MemoryTest, TablesLargerThanTheHostAreRefusedBeforeTheyAreMade) {
  RunConfig config = test::tiny_run();
  config.model.engram.rows_per_head = {100000000000};
  config.parallel.table = 1;  // each rank has tables of its own
  for (const TablePlacement placement : {TablePlacement::kDevice, TablePlacement::kHost}) {
    config.parallel.table_placement = placement;
    run_ranks(2, [&](Communicator& world) {
      const std::string error = test::error_of([&] { test::TinyReplica(config, world, DType::kFloat32); });
      EXPECT_NE(error.find("the tables of the 2 ranks of"), std::string::npos) << error;
      EXPECT_NE(error.find("fewer rows (model.engram.rows_per_head)"), std::string::npos) << error;
    });
  }
}

TEST(MemoryTest, TellsTheShareOfTheRowsThatUpdatesHaveReached) {
  const auto expect_share = [](const RunConfig& config, bool is_counted) {
    run_ranks(2, [&](Communicator& world) {
      test::TinyReplica tiny(config, world, DType::kFloat32);
      Replica& r = tiny.replica;
      EXPECT_EQ(r.memory->share_touched(r.stream), is_counted ? std::optional(0.0) : std::nullopt);
      test::made_up_step(r);
      int64_t num_updated = r.memory->stats().own_unique;
      all_reduce_sum<int64_t>(world, std::span(&num_updated, 1));
      const auto rows = r.memory->layout().rows_per_table();
      const double want = static_cast<double>(num_updated) / static_cast<double>(std::reduce(rows.begin(), rows.end()));
      EXPECT_EQ(r.memory->share_touched(r.stream), is_counted ? std::optional(want) : std::nullopt);
    });
  };
  RunConfig config = test::tiny_run();
  for (const TablePlacement placement : {TablePlacement::kDevice, TablePlacement::kHost}) {
    config.parallel.table_placement = placement;
    for (const TableOptimizerKind kind : {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kRowwiseAdam,
                                          TableOptimizerKind::kRowwiseAdagrad, TableOptimizerKind::kSgd}) {
      config.optimizer.table.kind = kind;
      expect_share(config, kind != TableOptimizerKind::kSgd);
    }
  }
}

}  // namespace
}  // namespace engram
