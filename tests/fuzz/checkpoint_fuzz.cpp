#include "parallel/self_communicator.h"
#include "tests/fuzz/file_edits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/hdf5_checksums.h"
#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint_files.h"
#include "trainer/checkpoint_reader.h"
#include "trainer/checkpoint_tensors.h"

// The file of a checkpoint's only rank with edits (file_edits.h), as nothing has compared its digest: as commands that
// have no replica read it, and as a run that goes on does.
namespace engram::fuzz {
namespace {

RunConfig small_run() {
  RunConfig config = test::tiny_run();
  config.model.hidden = 8;
  config.model.num_layers = 1;
  config.model.num_dense_layers = 0;
  config.model.attention = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 8};
  config.model.moe.num_experts = 2;
  config.model.engram.layers = {0};
  config.model.engram.memory_dim = 4;
  config.model.engram.rows_per_head = {11};
  return config;
}

struct Checkpoint {
  Checkpoint() {
    test::made_up_step(tiny.replica);
    save_checkpoint(tiny.replica, test::tiny_identity(), directory.path());
    bytes = test::read_file(file);
  }

  const RunConfig config = small_run();
  SelfCommunicator world;
  test::TinyReplica tiny{config, world, DType::kFloat32};
  test::TemporaryDirectory directory;
  const std::string path = directory / checkpoint_name(1), file = path + "/" + rank_file_name(0, 1);
  std::string bytes;
};

void read_all(const std::string& checkpoint) {
  const CheckpointReader reader(checkpoint);
  for (const auto& [name, info] : reader.arrays()) {
    std::vector<uint8_t> bytes(static_cast<size_t>(num_bytes(info)));
    FileTarget rows = std::span(bytes);
    rows.type = info.type;
    rows.shape = info.shape;
    reader.read_rows(name, 0, rows);
  }
}

}  // namespace

bool reads(std::string_view input) {
  static Checkpoint checkpoint;
  test::write_file(checkpoint.file, with_checksums(edited(checkpoint.bytes, input)));
  accepts([&] { read_all(checkpoint.path); });
  return accepts(
      [&] { read_tensors(CheckpointReader(checkpoint.path), checkpoint.tiny.replica, /*weights_only=*/false); });
}

}  // namespace engram::fuzz
