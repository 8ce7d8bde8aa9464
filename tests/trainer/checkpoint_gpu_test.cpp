#include "tests/trainer/gpu_run.h"

namespace engram {
namespace {

using test::gpu_run;
using test::LoneReplica;
using test::on_cuda;
using test::TemporaryDirectory;
using test::tiny_identity;

struct CheckpointGpuTest : test::TrainGpuTest {};

// Every bit of what is stored, whatever the precision that the model computes in.
std::vector<std::vector<std::byte>> stored_bits(Replica& r) {
  std::vector<Tensor> all{r.store.state_values()};
  for (const ZeroGroup& group : r.zero_groups) {
    all.push_back(group.own_weights());
    for (const OptimizerArray& array : group.optimizer_state()) all.push_back(array.value);
  }
  if (r.memory) {
    all.push_back(r.memory->table().weight());
    for (const OptimizerArray& array : r.memory->optimizer_state()) all.push_back(array.value);
  }
  std::vector<std::vector<std::byte>> bits;
  for (const Tensor& tensor : all) {
    auto& bytes = bits.emplace_back(static_cast<size_t>(tensor.num_bytes()));
    copy(r.stream, tensor, Tensor(bytes.data(), DType::kUInt8, {tensor.num_bytes()}));
  }
  synchronize(r.stream);
  return bits;
}

void expect_round_trip(const RunConfig& config, DType dtype) {
  const TemporaryDirectory first, second;
  LoneReplica cuda(on_cuda(config), dtype), cpu(config, DType::kFloat32), again(on_cuda(config), dtype);
  EXPECT_TRUE(stored_bits(*cuda) == stored_bits(*cpu)) << "initial values";
  test::made_up_steps(*cuda, 4);
  save_checkpoint(*cuda, tiny_identity(), first.path());
  load_checkpoint(*cpu, tiny_identity(), first / "step-00000004", LoadScope::kResume);
  EXPECT_TRUE(stored_bits(*cpu) == stored_bits(*cuda));
  save_checkpoint(*cpu, tiny_identity(), second.path());
  load_checkpoint(*again, tiny_identity(), second / "step-00000004", LoadScope::kResume);
  EXPECT_TRUE(test::bits_of(*again) == test::bits_of(*cuda));
  EXPECT_EQ(test::made_up_steps(*again, 3), test::made_up_steps(*cuda, 3));
  EXPECT_TRUE(test::bits_of(*again) == test::bits_of(*cuda));
  EXPECT_FALSE(test::made_up_step(*cpu).skipped);  // goes on from there, too
}

TEST_F(CheckpointGpuTest, CpuAndCudaReadEachOthers) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    expect_round_trip(test::without_memory(gpu_run()), dtype);
  }
}
TEST_F(CheckpointGpuTest, CpuAndCudaReadEachOthersWithMemory) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) expect_round_trip(gpu_run(), dtype);
}

}  // namespace
}  // namespace engram
