#include <sys/resource.h>

#include <array>
#include <csignal>
#include <filesystem>

#include "tests/data/deep_json.h"
#include "tests/trainer/checkpoint_testing.h"
#include "trainer/manifest.h"

// libhdf5 1.10 leaks a file that it could not write to its end; leaks of our own still count.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace engram {
namespace {

namespace fs = std::filesystem;

using test::RankErrors;
using test::refused_load;
using test::TemporaryDirectory;
using test::tiny_identity;
using test::tiny_run;
using test::TinyReplica;

constexpr const char* kFiles[] = {"MANIFEST.json", "config.yaml", "rank-00000-of-00002.h5", "rank-00001-of-00002.h5"};

// Two checkpoints of two ranks, of steps 1 and 2.
class CheckpointDamage : public ::testing::Test {
 protected:
  void SetUp() override { test::train_and_save(tiny_run(), 2, 2, directory_.path(), 1); }

  std::string checkpoint() const { return directory_ / "step-00000002"; }
  std::string file(const std::string& name) const { return checkpoint() + "/" + name; }
  void expect_refused(const std::string& words) const {
    for (const int num_ranks : {1, 2, 4}) {
      const RankErrors errors = refused_load(tiny_run(), num_ranks, checkpoint());
      EXPECT_TRUE(errors.all_name(words)) << "wanted: " << words << "; got:" << errors.text();
    }
  }
  // Both checkpoints are as good as they were.
  void expect_loads(const std::string& name) const {
    run_ranks(2, [&](Communicator& world) {
      TinyReplica tiny(tiny_run(), world, DType::kFloat32), trained(tiny_run(), world, DType::kFloat32);
      load_checkpoint(tiny.replica, tiny_identity(), directory_ / name, LoadScope::kResume);
      test::made_up_steps(trained.replica, tiny.replica.step);
      EXPECT_TRUE(test::bits_of(tiny.replica) == test::bits_of(trained.replica));
    });
  }

  TemporaryDirectory directory_;
};

TEST_F(CheckpointDamage, AFlippedBitInAnyFile) {
  for (const char* name : kFiles) {
    const std::string good = test::read_file(file(name));
    for (const size_t position : {size_t{0}, good.size() / 3, good.size() - 2}) {
      SCOPED_TRACE(std::string(name) + " at " + std::to_string(position));
      std::string bad = good;
      bad[position] = static_cast<char>(bad[position] ^ 0x10);
      test::write_file(file(name), bad);
      expect_refused(name);
    }
    test::write_file(file(name), good);
  }
  expect_loads("step-00000002");
}

TEST_F(CheckpointDamage, EveryByteOfTheManifestCounts) {
  const std::string good = test::read_file(file(kManifestName));
  const Manifest manifest = read_manifest(checkpoint());
  ASSERT_EQ(manifest.files.size(), 3u);
  for (size_t i = 0; i < good.size(); ++i) {
    if (std::isspace(static_cast<unsigned char>(good[i])) != 0) continue;  // one space for another says the same
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
    test::write_file(file(kManifestName), bad);
    const std::string message = test::error_of([&] { read_manifest(checkpoint()); });
    EXPECT_NE(message.find(kManifestName), std::string::npos) << "byte " << i << ": " << bad.substr(i, 20);
  }
}

TEST_F(CheckpointDamage, AManifestWithoutEnd) {
  test::write_file(file(kManifestName), R"({"format_version":1,"digest":"","files":)" + test::deep_json() + "}");
  const std::string message = test::error_of([&] { read_manifest(checkpoint()); });
  EXPECT_NE(message.find(std::string(kManifestName) + ": nested deeper than 64 levels"), std::string::npos) << message;
}

TEST_F(CheckpointDamage, ATruncatedOrEmptyFile) {
  for (const char* name : kFiles) {
    const std::string good = test::read_file(file(name));
    for (const size_t size : {size_t{0}, good.size() / 2, good.size() - 1}) {
      if (name == std::string(kManifestName) && size == good.size() - 1) continue;  // its last byte is a line end
      SCOPED_TRACE(std::string(name) + " cut to " + std::to_string(size));
      test::write_file(file(name), good.substr(0, size));
      expect_refused(name);
    }
    test::write_file(file(name), good);
  }
}

TEST_F(CheckpointDamage, AMissingFile) {
  for (const char* name : kFiles) {
    SCOPED_TRACE(name);
    fs::rename(file(name), directory_ / "away");
    expect_refused(name);
    const std::string newest = newest_checkpoint(directory_.path()).value();
    EXPECT_EQ(newest, name == std::string(kManifestName) ? directory_ / "step-00000001" : checkpoint());
    fs::rename(directory_ / "away", file(name));
  }
}

TEST_F(CheckpointDamage, FilesThatChangedPlacesOrAreOfAnotherStep) {
  fs::rename(file(kFiles[2]), directory_ / "away");
  fs::rename(file(kFiles[3]), file(kFiles[2]));
  fs::rename(directory_ / "away", file(kFiles[3]));
  expect_refused("-of-00002.h5");
  for (const char* name : {kFiles[2], kFiles[3]}) {
    fs::copy_file(directory_ / "step-00000001/" + name, file(name), fs::copy_options::overwrite_existing);
  }
  expect_refused("-of-00002.h5");
}

// Resumes two ranks from the newest intact checkpoint; expects that they say the same.
ResumedFrom resume(const std::string& directory, int64_t wanted_step) {
  std::array<ResumedFrom, 2> from;
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    from[static_cast<size_t>(world.rank())] =
        resume_from_newest(tiny.replica, tiny_identity(), list_checkpoints(world, directory));
    EXPECT_EQ(tiny.replica.step, wanted_step);
  });
  EXPECT_EQ(from[0].checkpoint, from[1].checkpoint);
  return from[0];
}

TEST_F(CheckpointDamage, IsPassedOverForTheNewestIntactCheckpoint) {
  EXPECT_TRUE(resume(directory_.path(), 2).damaged.empty());
  std::string bad = test::read_file(file(kFiles[3]));
  bad[bad.size() / 2] ^= 1;
  test::write_file(file(kFiles[3]), bad);
  const ResumedFrom from = resume(directory_.path(), 1);
  EXPECT_EQ(from.checkpoint, directory_ / "step-00000001");
  ASSERT_EQ(from.damaged.size(), 1u);
  EXPECT_NE(from.damaged[0].find("step-00000002/rank-00001-of-00002.h5: its digest is "), std::string::npos)
      << from.damaged[0];
  EXPECT_FALSE(fs::exists(checkpoint()));
  EXPECT_EQ(test::read_file(directory_ / "damaged.step-00000002/rank-00001-of-00002.h5"), bad);
}

// A link to itself: the system refuses to open it, to root as well. Rank 1 checks that file, rank 0 the other one.
TEST_F(CheckpointDamage, WhatOneRankCannotReadIsNotPassedOver) {
  fs::rename(file(kFiles[2]), directory_ / "away");
  fs::create_symlink(file(kFiles[2]), file(kFiles[2]));
  for (const bool other_is_damaged : {false, true}) {
    if (other_is_damaged) test::write_file(file(kFiles[3]), "");
    run_ranks(2, [&](Communicator& world) {
      TinyReplica tiny(tiny_run(), world, DType::kFloat32);
      const std::vector<std::string> found = list_checkpoints(world, directory_.path());
      if (world.rank() == 0) {
        EXPECT_THROW(resume_from_newest(tiny.replica, tiny_identity(), found), PeerFailed);
        return;
      }
      try {
        resume_from_newest(tiny.replica, tiny_identity(), found);
        ADD_FAILURE() << "nothing was thrown";
      } catch (const IoError& error) {
        const std::string message = error.what();
        for (const char* words : {kFiles[2], "Too many levels of symbolic links", "start again once it can be read"}) {
          EXPECT_NE(message.find(words), std::string::npos) << message;
        }
      }
    });
    EXPECT_EQ(newest_checkpoint(directory_.path()), checkpoint());
  }
  fs::remove(file(kFiles[2]));
  EXPECT_EQ(resume(directory_.path(), 1).damaged.size(), 1u);
}

TEST_F(CheckpointDamage, WhereNoneIsIntactEachIsBlamed) {
  for (const char* step : {"step-00000001", "step-00000002"}) fs::remove(directory_ / step + "/config.yaml");
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    const std::vector<std::string> found = list_checkpoints(world, directory_.path());
    const std::string message = test::error_of([&] { resume_from_newest(tiny.replica, tiny_identity(), found); });
    EXPECT_NE(message.find("no checkpoint of this run is intact"), std::string::npos) << message;
    for (const char* step : {"step-00000001/config.yaml", "step-00000002/config.yaml"}) {
      EXPECT_NE(message.find(step), std::string::npos) << message;
    }
  });
}

TEST_F(CheckpointDamage, AWholeCheckpointUnderTheNameOfALaterStep) {
  fs::rename(directory_ / "step-00000001", directory_ / "step-00000009");
  const ResumedFrom from = resume(directory_.path(), 2);
  ASSERT_EQ(from.damaged.size(), 1u);
  EXPECT_NE(from.damaged[0].find("step-00000009/MANIFEST.json: is of step 1"), std::string::npos) << from.damaged[0];
}

struct Refusal {
  const char* what;
  std::function<void(RunConfig&, RunIdentity&)> change;
  const char* words;
  bool weights_too;  // refused for weights alone as well
};

const Refusal kRefusals[] = {
    {"width", [](RunConfig& c, RunIdentity&) { c.model.ffn_hidden = 32; }, "model.ffn_hidden: 24 -> 32", true},
    {"experts", [](RunConfig& c, RunIdentity&) { c.model.moe.num_experts = 8; }, "model.moe.num_experts: 4 -> 8", true},
    {"memory", [](RunConfig& c, RunIdentity&) { c.model.engram.layers = {1}; }, "model.engram.layers: [0, 1] -> [1]",
     true},
    {"hash", [](RunConfig& c, RunIdentity&) { c.model.engram.base_seed = 5; }, "model.engram.base_seed: 0 -> 5", true},
    {"tokenizer", [](RunConfig&, RunIdentity& i) { i.tokenizer_digest = "tokenizer two"; },
     "its tokenizer digest is tokenizer one, this run's is tokenizer two", true},
    {"vocabulary", [](RunConfig&, RunIdentity& i) { i.vocabulary_digest = "vocabulary two"; },
     "its vocabulary digest is vocabulary one, this run's is vocabulary two", true},
    {"data", [](RunConfig&, RunIdentity& i) { i.data_digest = "data two"; },
     "its training data digest is data one, this run's is data two", false},
    {"optimizer", [](RunConfig& c, RunIdentity&) { c.optimizer.table.kind = TableOptimizerKind::kAdamDense; },
     "optimizer.table.kind: adam_lazy -> adam_dense", false},
    {"moments", [](RunConfig& c, RunIdentity&) { c.optimizer.dense.moments = Moments::kBFloat16; },
     "optimizer.dense.moments: float32 -> bfloat16", false},
    {"seed", [](RunConfig& c, RunIdentity&) { c.run.seed = 4; }, "run.seed: 3 -> 4", false},
    {"batch", [](RunConfig& c, RunIdentity&) { c.train.global_batch = 8; }, "train.global_batch: 4 -> 8", false},
    {"length", [](RunConfig& c, RunIdentity&) { c.data.seq_len = 8; }, "data.seq_len: 12 -> 8", false}};

TEST_F(CheckpointDamage, ACheckpointOfAnotherRunIsRefused) {
  for (const Refusal& refusal : kRefusals) {
    SCOPED_TRACE(refusal.what);
    RunConfig config = tiny_run();
    RunIdentity identity = tiny_identity();
    refusal.change(config, identity);
    for (const LoadScope scope : {LoadScope::kResume, LoadScope::kWeights}) {
      if (scope == LoadScope::kWeights && !refusal.weights_too) continue;
      const RankErrors errors = refused_load(config, 2, checkpoint(), identity, scope);
      EXPECT_TRUE(errors.all_name(refusal.words)) << "wanted: " << refusal.words << "; got:" << errors.text();
      EXPECT_TRUE(errors.all_name("step-00000002")) << errors.text();
      EXPECT_TRUE(refusal.weights_too || errors.all_name("with run.init_from=" + checkpoint())) << errors.text();
    }
  }
}

// Saves step 3 with a directory of each rank's own choice, and expects that both ranks fail.
void expect_failed_save(const std::vector<std::string>& directories, const std::string& words) {
  RankErrors errors;
  errors.messages.resize(2);
  run_ranks(2, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    test::made_up_steps(tiny.replica, 3);
    const auto rank = static_cast<size_t>(world.rank());
    errors.messages[rank] =
        test::error_of([&] { save_checkpoint(tiny.replica, tiny_identity(), directories.at(rank)); });
  });
  EXPECT_TRUE(errors.all_name(words)) << "wanted: " << words << "; got:" << errors.text();
}

class CheckpointFailedSave : public CheckpointDamage {
 protected:
  // Nothing came of it, and the next save works.
  void TearDown() override {
    EXPECT_EQ(newest_checkpoint(directory_.path()), checkpoint());
    expect_loads("step-00000001");
    expect_loads("step-00000002");
    test::train_and_save(tiny_run(), 2, 3, directory_.path(), 3);
    expect_loads("step-00000003");
    for (const auto& entry : fs::directory_iterator(directory_.path())) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("tmp.")) << entry.path();
    }
  }
};

TEST_F(CheckpointFailedSave, OneRankCannotWriteItsFile) {
  expect_failed_save({directory_.path(), directory_ / "nowhere"}, "nowhere/tmp.step-00000003/rank-00001-of-00002.h5");
}

TEST_F(CheckpointFailedSave, AFileIsNotWhereTheManifestLooksForIt) {
  const TemporaryDirectory elsewhere;
  fs::create_directory(elsewhere / "tmp.step-00000003");
  expect_failed_save({directory_.path(), elsewhere.path()}, "rank-00001-of-00002.h5");
}

TEST_F(CheckpointFailedSave, TheDirectoryIsAFile) {
  test::write_file(directory_ / "file", "");
  expect_failed_save({directory_ / "file", directory_ / "file"}, "file");
  fs::remove(directory_ / "file");
}

TEST_F(CheckpointFailedSave, TheDiskRefusesTheTensors) {
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 8192, .rlim_max = before.rlim_max};  // the configuration fits
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_failed_save({directory_.path(), directory_.path()}, "-of-00002.h5");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace engram
