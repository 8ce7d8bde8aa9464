#include <array>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint_files.h"
#include "trainer/manifest.h"

// Seeded damage to the newest checkpoints of a run: all of it is found before use, the newest intact one is taken, and
// the message names the file. ENGRAM_CORRUPTIONS sets how often, ENGRAM_CORRUPTIONS_FIRST the first seed.
namespace engram {
namespace {

namespace fs = std::filesystem;

using test::TemporaryDirectory;
using test::tiny_identity;
using test::tiny_run;
using test::TinyReplica;

constexpr int64_t kNumSteps = 4;
constexpr int kNumWriters = 2;

class Mutator {
 public:
  Mutator(std::string directory, uint64_t seed) : directory_(std::move(directory)), random_(seed) {}

  // Damages the checkpoint of a step; returns the name of the file that has to be named.
  std::string damage(int64_t step) {
    const std::string name = kFiles[below(std::size(kFiles))];
    const std::string path = file(step, name);
    switch (below(7)) {
      case 0:
        flip_bits(path);
        return name;
      case 1:
        fs::resize_file(path, below(fs::file_size(path) - 1));  // the manifest's last byte is a line end
        return name;
      case 2:
        zero_page(path);
        return name;
      case 3: {  // the same file of an older checkpoint; config.yaml is the same in all
        const std::string own = name == std::string(kConfigName) ? std::string(kManifestName) : name;
        fs::copy_file(file(1 + static_cast<int64_t>(below(static_cast<uint64_t>(step) - 1)), own), file(step, own),
                      fs::copy_options::overwrite_existing);
        return own;
      }
      case 4: {
        const std::string rank = kFiles[2 + below(2)];
        fs::remove(file(step, rank));
        return rank;
      }
      case 5:  // the two ranks' files change places
        fs::rename(file(step, kFiles[2]), directory_ + "/away");
        fs::rename(file(step, kFiles[3]), file(step, kFiles[2]));
        fs::rename(directory_ + "/away", file(step, kFiles[3]));
        return "-of-00002.h5";
      default:
        append(path);
        return name;
    }
  }
  uint64_t below(uint64_t bound) { return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random_); }

 private:
  static constexpr const char* kFiles[] = {kManifestName, kConfigName, "rank-00000-of-00002.h5",
                                           "rank-00001-of-00002.h5"};

  std::string file(int64_t step, const std::string& name) const {
    return directory_ + "/" + checkpoint_name(step) + "/" + name;
  }
  void flip_bits(const std::string& path) {
    std::string bytes = test::read_file(path);
    const size_t last = bytes.size() - (path.ends_with(kManifestName) ? 2 : 1);  // not the line end of the manifest
    for (uint64_t i = 0, count = 1 + below(8); i < count; ++i) {
      bytes[below(last)] ^= static_cast<char>(1 << below(7));
    }
    if (bytes == test::read_file(path)) bytes[0] ^= 1;  // all came in pairs
    test::write_file(path, bytes);
  }
  void zero_page(const std::string& path) {
    constexpr size_t kPage = 4096;
    std::string bytes = test::read_file(path);
    const size_t begin = below((bytes.size() + kPage - 1) / kPage) * kPage;
    for (size_t i = begin; i < std::min(begin + kPage, bytes.size()); ++i) bytes[i] = '\0';
    if (bytes == test::read_file(path)) bytes.back() ^= 1;  // the page was zero before
    test::write_file(path, bytes);
  }
  void append(const std::string& path) { test::write_file(path, test::read_file(path) + "x"); }

  std::string directory_;
  std::mt19937_64 random_;
};

class CheckpointCorruptionSlow : public ::testing::Test {
 protected:
  void SetUp() override {
    RunConfig config = tiny_run();
    config.checkpoint.keep = kNumSteps;
    test::train_and_save(config, kNumWriters, kNumSteps, good_.path(), 1);
    run_ranks(1, [&](Communicator& world) {
      TinyReplica tiny(tiny_run(), world, DType::kFloat32);
      for (int64_t step = 1; step <= kNumSteps; ++step) {
        load_checkpoint(tiny.replica, tiny_identity(), good_ / checkpoint_name(step), LoadScope::kResume);
        states_.push_back(test::bits_of(tiny.replica));
      }
    });
  }

  // Damages the `num_damaged` newest checkpoints and loads on `num_ranks`.
  void check(uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const TemporaryDirectory directory;
    fs::copy(good_.path(), directory.path(), fs::copy_options::recursive);
    Mutator mutator(directory.path(), seed);
    const auto num_damaged = static_cast<int64_t>(1 + mutator.below(kNumSteps - 1));
    std::vector<std::string> names;
    for (int64_t i = 0; i < num_damaged; ++i) names.push_back(mutator.damage(kNumSteps - i));
    const int num_ranks = std::array{1, 2, 4}[mutator.below(3)];
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(tiny_run(), world, DType::kFloat32);
      const ResumedFrom from =
          resume_from_newest(tiny.replica, tiny_identity(), list_checkpoints(world, directory.path()));
      EXPECT_EQ(tiny.replica.step, kNumSteps - num_damaged);
      EXPECT_EQ(from.checkpoint, directory / checkpoint_name(kNumSteps - num_damaged));
      ASSERT_EQ(std::ssize(from.damaged), num_damaged);
      for (size_t i = 0; i < names.size(); ++i) {
        EXPECT_NE(from.damaged[i].find(names[i]), std::string::npos) << names[i] << " not in: " << from.damaged[i];
        EXPECT_NE(from.damaged[i].find(checkpoint_name(kNumSteps - static_cast<int64_t>(i))), std::string::npos);
      }
      if (num_ranks == 1) {
        EXPECT_TRUE(test::bits_of(tiny.replica) == states_.at(tiny.replica.step - 1));
      }
    });
    EXPECT_EQ(newest_checkpoint(directory.path()), directory / checkpoint_name(kNumSteps - num_damaged));
  }

  TemporaryDirectory good_;
  std::vector<std::vector<std::byte>> states_;  // of each step
};

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

TEST_F(CheckpointCorruptionSlow, IsFoundAndTheNewestIntactCheckpointIsTaken) {
  const uint64_t first = from_environment("ENGRAM_CORRUPTIONS_FIRST", 1);
  const uint64_t end = first + from_environment("ENGRAM_CORRUPTIONS", 500);
  for (uint64_t seed = first; seed < end && !HasFailure(); ++seed) check(seed);
}

}  // namespace
}  // namespace engram
