#include "trainer/checkpoint_saver.h"

#include <filesystem>

#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint_files.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using test::TemporaryDirectory;
using test::tiny_identity;
using test::tiny_run;
using test::TinyReplica;

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// A step that tells the others how far this rank's save is; returns their sum.
double step_beside(CheckpointSaver& saver, Replica& r) {
  return train_step(r, test::prepared_step(r), {.save_work = saver.num_ended()}).wait().save_work;
}

// Of what the manifest lists.
int64_t bytes_of_files(const std::string& checkpoint) {
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint)) {
    if (entry.path().filename() != kManifestName) bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

TEST(CheckpointSaver, WritesWhatTheStateWasWhileTrainingGoesOn) {
  for (const int num_ranks : {1, 3}) {
    const TemporaryDirectory directory;
    RunConfig config = tiny_run();
    config.train.global_batch = 6;
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32), loaded(config, world, DType::kFloat32);
      Replica& r = tiny.replica;
      test::made_up_steps(r, 4);
      const auto before = test::bits_of(r);
      CheckpointSaver saver(r, tiny_identity(), directory.path());
      saver.begin();
      std::optional<SavedCheckpoint> saved;
      while (!saved) {
        ASSERT_LT(r.step, 10000);
        if (saver.all_ended(step_beside(saver, r))) saved = saver.advance();
      }
      EXPECT_FALSE(saver.is_saving());
      EXPECT_EQ(saved->step, 4);
      if (world.rank() == 0) {
        EXPECT_EQ(saved->num_bytes, bytes_of_files(directory / "step-00000004"));
      }
      EXPECT_GE(saved->seconds, saved->stall_seconds);
      EXPECT_FALSE(test::bits_of(r) == before);
      load_checkpoint(loaded.replica, tiny_identity(), directory / "step-00000004", LoadScope::kResume);
      EXPECT_TRUE(test::bits_of(loaded.replica) == before);
    });
  }
}

TEST(CheckpointSaver, BothWaysWriteTheSameTensors) {
  for (const bool asynchronous : {false, true}) {
    const TemporaryDirectory directory;
    RunConfig config = tiny_run();
    config.checkpoint.asynchronous = asynchronous;
    test::train_and_save(config, 2, 3, directory.path(), 3);
    run_ranks(2, [&](Communicator& world) {
      TinyReplica trained(config, world, DType::kFloat32), loaded(config, world, DType::kFloat32);
      test::made_up_steps(trained.replica, 3);
      load_checkpoint(loaded.replica, tiny_identity(), directory / "step-00000003", LoadScope::kResume);
      EXPECT_TRUE(test::bits_of(loaded.replica) == test::bits_of(trained.replica));
    });
  }
}

TEST(CheckpointSaver, UsesItsMemoryAgainForTheNextSave) {
  const TemporaryDirectory directory;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32), loaded(tiny_run(), world, DType::kFloat32);
    CheckpointSaver saver(tiny.replica, tiny_identity(), directory.path());
    for (int i = 0; i < 3; ++i) {
      test::made_up_steps(tiny.replica, 2);
      saver.begin();
      EXPECT_EQ(saver.finish()->step, tiny.replica.step);
      EXPECT_FALSE(saver.finish());
      load_checkpoint(loaded.replica, tiny_identity(), directory / checkpoint_name(tiny.replica.step),
                      LoadScope::kResume);
      EXPECT_TRUE(test::bits_of(loaded.replica) == test::bits_of(tiny.replica));
    }
  });
}

TEST(CheckpointSaver, AFailureIsToldAndTriedAgain) {
  const TemporaryDirectory directory;
  std::vector<std::string> told;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    test::made_up_step(tiny.replica);
    const std::string in_the_way = directory / "checkpoints";
    if (world.rank() == 0) test::write_file(in_the_way, "");
    CheckpointSaver saver(tiny.replica, tiny_identity(), in_the_way, [&](const std::string& text) {
      told.push_back(text);
      if (told.size() == 2) fs::remove(in_the_way);
    });
    saver.begin();
    EXPECT_EQ(saver.finish()->step, 1);
  });
  ASSERT_EQ(told.size(), 2u);
  EXPECT_NE(told[1].find("checkpoint of step 1 failed (try 2 of 5): "), std::string::npos) << told[1];
  EXPECT_NE(told[1].find(directory / "checkpoints"), std::string::npos) << told[1];
  EXPECT_EQ(names_in(directory / "checkpoints"), std::vector<std::string>{"step-00000001"});
}

TEST(CheckpointSaver, KeepsTheNewestAndThoseThatStay) {
  const TemporaryDirectory directory;
  RunConfig config = tiny_run();
  config.checkpoint.keep = 2;
  config.checkpoint.keep_every = 3;
  test::train_and_save(config, 2, 8, directory.path(), 1);
  EXPECT_EQ(names_in(directory.path()),
            (std::vector<std::string>{"step-00000003", "step-00000006", "step-00000007", "step-00000008"}));
}

}  // namespace
}  // namespace engram
