#include "trainer/checkpoint_reader.h"

#include <cstring>
#include <filesystem>
#include <functional>

#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint_diff.h"
#include "trainer/checkpoint_files.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using test::GlobalStateBuilder;
using test::TemporaryDirectory;
using test::tiny_identity;
using test::tiny_run;
using test::TinyReplica;

// A checkpoint after `num_steps` on `num_ranks`; returns its path.
std::string saved(const RunConfig& config, int num_ranks, int64_t num_steps, const std::string& directory,
                  GlobalStateBuilder* state = nullptr) {
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(config, world, DType::kFloat32);
    test::made_up_steps(tiny.replica, num_steps);
    save_checkpoint(tiny.replica, tiny_identity(), directory);
    if (state != nullptr) state->add(tiny.replica);
  });
  return newest_checkpoint(directory).value();
}

TEST(CheckpointReader, GivesEveryArrayWholeWhateverWroteIt) {
  for (const int num_ranks : {1, 3, 4}) {
    const TemporaryDirectory directory;
    GlobalStateBuilder state;
    const CheckpointReader reader(saved(tiny_run(), num_ranks, 3, directory.path(), &state));
    EXPECT_EQ(reader.manifest().step, 3);
    EXPECT_EQ(reader.arrays().size(), state.state().size());
    for (const auto& [name, bits] : state.state()) {
      const std::string array = name.ends_with("router.bias") ? "state/" + name : name;
      ASSERT_TRUE(reader.arrays().contains(array)) << array;
      const DatasetInfo& info = reader.arrays().at(array);
      EXPECT_EQ(num_bytes(info), std::ssize(bits)) << array;
      std::vector<std::byte> got(bits.size());
      FileTarget target = std::span<float>(reinterpret_cast<float*>(got.data()), got.size() / 4);
      target.type = info.type;
      target.shape = info.shape;
      reader.read_rows(array, 0, target);
      EXPECT_TRUE(got == bits) << array;
    }
  }
}

TEST(CheckpointReader, ReadsRowsAcrossFiles) {
  const TemporaryDirectory directory;
  const CheckpointReader one(saved(tiny_run(), 1, 0, directory / "one")),
      four(saved(tiny_run(), 4, 0, directory / "four"));
  const DatasetInfo& info = one.arrays().at("table/0/weight");
  ASSERT_EQ(info.shape[1], 3);
  for (const int64_t first : {0, 200, 255, 700}) {
    std::vector<float> a(300 * 3), b(300 * 3);
    for (const auto& [reader, values] : {std::pair{&one, &a}, {&four, &b}}) {
      FileTarget target = std::span<float>(*values);
      target.shape = {300, 3};
      reader->read_rows("table/0/weight", first, target);
    }
    EXPECT_EQ(a, b) << first;
  }
}

TEST(CheckpointReader, RefusesWhatIsNotThere) {
  const TemporaryDirectory directory;
  const CheckpointReader reader(saved(tiny_run(), 2, 0, directory.path()));
  std::vector<float> values(17);
  const auto error = [&](const std::string& name, int64_t first) {
    return test::error_of([&] { reader.read_rows(name, first, std::span<float>(values)); });
  };
  EXPECT_NE(error("dense/nobody/value", 0).find("has no dense/nobody/value"), std::string::npos);
  EXPECT_NE(error("dense/final_norm.weight/value", 0).find("rows 0 to 17; it has 16"), std::string::npos);
  EXPECT_NE(error("dense/final_norm.weight/value", -1).find("rows -1 to 16"), std::string::npos);
}

TEST(CheckpointReader, RowsInNoFileAreNamed) {
  const TemporaryDirectory directory;
  const std::string checkpoint = saved(tiny_run(), 2, 0, directory.path());
  Manifest manifest = read_manifest(checkpoint);
  const auto has_rank_0 = [](const Manifest::File& file) { return file.name.starts_with("rank-00000"); };
  std::erase_if(manifest.files, has_rank_0);
  write_manifest(checkpoint, manifest);
  const std::string message = test::error_of([&] { CheckpointReader{checkpoint}; });
  EXPECT_NE(message.find(": row 0 is in no file"), std::string::npos) << message;
}

// Writes a file of a checkpoint anew, with other lengths of the runs of table 0's rows.
void change_runs(const std::string& path, const std::function<void(std::vector<int64_t>&)>& change) {
  {
    const Hdf5Reader old(path);
    Hdf5Writer changed(path + ".changed");
    for (const std::string& name : old.dataset_names()) {
      const DatasetInfo info = old.dataset_info(name);
      std::vector<std::byte> bytes(static_cast<size_t>(num_bytes(info)));
      FileTarget target = std::span<uint8_t>(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size());
      target.type = info.type;
      target.shape = info.shape;
      old.read_dataset(name, target);
      if (name == "table/0/num_rows") {
        std::vector<int64_t> lengths(bytes.size() / sizeof(int64_t));
        std::memcpy(lengths.data(), bytes.data(), bytes.size());
        change(lengths);
        std::memcpy(bytes.data(), lengths.data(), bytes.size());
      }
      FileSource source = std::span<const uint8_t>();
      source.data = bytes.data();
      source.type = info.type;
      source.shape = info.shape;
      changed.write_dataset(name, source);
      if (old.has_attribute(name, "offset")) {
        changed.set_attribute(name, "offset", old.int_attribute(name, "offset"));
      }
    }
    changed.close();
  }
  fs::rename(path + ".changed", path);
}

TEST(CheckpointReader, RunsAreOfTheRowsThatAreThere) {
  using Lengths = std::vector<int64_t>;
  const std::vector<std::pair<std::function<void(Lengths&)>, const char*>> cases{
      {[](Lengths& lengths) { lengths.back() += 1; }, " rows where "},
      {[](Lengths& lengths) { lengths.back() = INT64_MAX; }, " has 9223372036854775807 rows where "},
      {[](Lengths& lengths) { lengths.back() = -1; }, " has -1 rows where "},
      {[](Lengths& lengths) { lengths.back() -= 1; }, ": the last 1 rows are in no run"}};
  for (const auto& [change, wanted] : cases) {
    const TemporaryDirectory directory;
    const std::string checkpoint = saved(tiny_run(), 1, 0, directory.path());
    change_runs(checkpoint + "/" + rank_file_name(0, 1), change);
    const std::string message = test::error_of([&] { CheckpointReader{checkpoint}; });
    EXPECT_NE(message.find(": table/0/"), std::string::npos) << message;
    EXPECT_NE(message.find(wanted), std::string::npos) << message;
  }
}

TEST(CheckpointDiff, NamesKeysAndArraysThatDiffer) {
  const TemporaryDirectory directory;
  RunConfig other = tiny_run();
  other.optimizer.dense.lr = 1e-3;
  other.optimizer.table.kind = TableOptimizerKind::kSgd;
  const CheckpointReader a(saved(tiny_run(), 2, 2, directory / "a")), same(saved(tiny_run(), 2, 2, directory / "same")),
      b(saved(other, 3, 1, directory / "b"));
  EXPECT_EQ(checkpoint_differences(a, same), "equal\n");
  const std::string text = checkpoint_differences(a, b);
  for (const char* words :
       {"step: 2 -> 1\n", "optimizer.dense.lr: 0.003 -> 0.001\n", "optimizer.table.kind: adam_lazy -> sgd\n",
        "table/0/m: only in the first\n", "dense/final_norm.weight/value: 16 of 16 values differ, by "}) {
    EXPECT_NE(text.find(words), std::string::npos) << text;
  }
  EXPECT_NE(checkpoint_differences(b, a).find("table/1/count: only in the second\n"), std::string::npos);
}

TEST(CheckpointDiff, SaysByHowMuch) {
  const TemporaryDirectory directory;
  std::vector<std::string> paths;
  for (const float bias : {0.25f, -0.5f}) {
    run_ranks(1, [&](Communicator& world) {
      TinyReplica tiny(tiny_run(), world, DType::kFloat32);
      host_span<float>(tiny.replica.store.states().front().value)[2] = bias;
      save_checkpoint(tiny.replica, tiny_identity(), directory / std::to_string(paths.size()));
    });
    paths.push_back(newest_checkpoint(directory / std::to_string(paths.size())).value());
  }
  EXPECT_EQ(checkpoint_differences(CheckpointReader(paths[0]), CheckpointReader(paths[1])),
            "state/blocks.1.moe.router.bias: 1 of 4 values differ, by 0.75 at most\n");
}

}  // namespace
}  // namespace engram
