#include "trainer/step.h"

#include <limits>

#include "kernels/core/op_profile.h"
#include "tests/trainer/gpu_run.h"

namespace engram {
namespace {

using test::gpu_run;
using test::LoneReplica;
using test::on_cuda;
using test::relative_error;
using test::without_memory;

struct StepGpuTest : test::TrainGpuTest {
  // Gives the double replica on the CPU what the one on CUDA computes with.
  void copy_values(Replica& cuda, Replica& cpu) {
    Arena::Scope scope(host);
    const auto assign = [&](const Tensor& from, const Tensor& to) {
      copy(cpu.stream, download(cuda.stream, from), to);
    };
    assign(cuda.store.values(), cpu.store.values());
    if (cuda.memory) assign(cuda.memory->table().weight(), cpu.memory->table().weight());
  }

  // One step with the same values on both: the loss, the gradient of each parameter, and the rows, which plain gradient
  // descent moved by their gradients.
  void expect_gradients(RunConfig config, DType dtype, double loss_bound, double bound) {
    config.optimizer.table.kind = TableOptimizerKind::kSgd;
    config.optimizer.table.lr_mult = 1e4;  // so that a row moves by more than its rounding
    config.optimizer.clip.norm = 0;
    config.model.engram.gate = GateForm::kPlain;  // the signed root has slope without bound at 0, where scores begin
    LoneReplica cuda(on_cuda(config), dtype), cpu(config, DType::kFloat64);
    fix_routing(*cuda, dtype);
    fix_routing(*cpu, dtype);
    copy_values(*cuda, *cpu);
    const Tensor rows = cpu->memory ? download(cpu->stream, cpu->memory->table().weight()) : Tensor{};
    const StepReport got = test::made_up_step(*cuda), want = test::made_up_step(*cpu);
    EXPECT_NEAR(got.loss, want.loss, loss_bound * want.loss);
    EXPECT_NEAR(got.norm, want.norm, bound * want.norm);
    for (size_t i = 0; i < cpu->store.parameters().size(); ++i) {
      Arena::Scope scope(host);
      const Parameter &on_card = cuda->store.parameters()[i], &reference = cpu->store.parameters()[i];
      const double error = relative_error(download(cuda->stream, on_card.grad), reference.grad);
      EXPECT_LT(error, bound) << reference.name;
      worst = std::max(worst, error);
    }
    if (cpu->memory) expect_row_gradients(*cuda, *cpu, rows, bound);
    std::printf("[ measured ] %s: loss %.2e, worst gradient %.2e\n", name_of(dtype), std::abs(got.loss / want.loss - 1),
                worst);
  }

  void expect_row_gradients(Replica& cuda, Replica& cpu, const Tensor& before, double bound) {
    const Tensor got = download(cuda.stream, cuda.memory->table().weight());
    const Tensor want = download(cpu.stream, cpu.memory->table().weight());
    for (int64_t i = 0; i < before.numel(); ++i) {
      test::set_element(got, i, test::element(got, i) - test::element(before, i));
      test::set_element(want, i, test::element(want, i) - test::element(before, i));
    }
    EXPECT_LT(relative_error(got, want), bound) << "rows";
  }

  // Rounded affinities may choose other experts: biases that no affinity outweighs fix the choice.
  static void fix_routing(Replica& r, DType dtype) {
    if (dtype != DType::kBFloat16) return;
    const Tensor& biases = r.store.state_values();
    std::vector<float> wanted(static_cast<size_t>(biases.numel()));
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = i % 4 == 1 || i % 4 == 3 ? 3.0f : 0.0f;
    std::vector<double> wide(wanted.begin(), wanted.end());
    void* values = biases.dtype == DType::kFloat64 ? static_cast<void*>(wide.data()) : wanted.data();
    copy(r.stream, Tensor(values, biases.dtype, {biases.numel()}), biases);
    synchronize(r.stream);
  }

  double worst = 0;
};

TEST_F(StepGpuTest, GradientsMatchTheDoubleForm) {
  expect_gradients(without_memory(gpu_run()), DType::kFloat32, 1e-7, 1e-5);
}
TEST_F(StepGpuTest, GradientsMatchTheDoubleFormWithMemory) { expect_gradients(gpu_run(), DType::kFloat32, 1e-7, 1e-5); }
TEST_F(StepGpuTest, RoundedGradientsMatchTheDoubleForm) {
  expect_gradients(without_memory(gpu_run()), DType::kBFloat16, 2e-4, 2e-2);
}
TEST_F(StepGpuTest, RoundedGradientsMatchTheDoubleFormWithMemory) {
  expect_gradients(gpu_run(), DType::kBFloat16, 2e-4, 2e-2);
}

void expect_losses_of_the_cpu(const RunConfig& config) {
  LoneReplica cuda(on_cuda(config), DType::kFloat32), cpu(config, DType::kFloat32);
  for (int step = 1; step <= 20; ++step) {
    EXPECT_NEAR(test::made_up_step(*cuda).loss, test::made_up_step(*cpu).loss, 1e-3) << "step " << step;
  }
}

TEST_F(StepGpuTest, LossesOfTwentyStepsMatchTheCpu) { expect_losses_of_the_cpu(without_memory(gpu_run())); }
TEST_F(StepGpuTest, LossesOfTwentyStepsMatchTheCpuWithMemory) { expect_losses_of_the_cpu(gpu_run()); }

// The losses of 12 steps, and the bits after them.
std::pair<std::vector<double>, std::vector<std::byte>> pipelined_run(const RunConfig& config, DType dtype) {
  LoneReplica replica(on_cuda(config), dtype);
  const std::vector<double> losses = test::pipelined_losses(*replica, 12, [](int64_t) {});
  return {losses, test::bits_of(*replica)};
}

void expect_same_bits_again(const RunConfig& config) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const auto first = pipelined_run(config, dtype), second = pipelined_run(config, dtype);
    EXPECT_EQ(first.first, second.first) << name_of(dtype);
    EXPECT_TRUE(first.second == second.second) << name_of(dtype);
    LoneReplica at_once(on_cuda(config), dtype);
    EXPECT_EQ(test::made_up_steps(*at_once, 12), first.first) << name_of(dtype);
    EXPECT_TRUE(test::bits_of(*at_once) == first.second) << name_of(dtype) << ": what is overlapped changed bits";
  }
}

TEST_F(StepGpuTest, ARerunGivesTheSameBits) { expect_same_bits_again(without_memory(gpu_run())); }
TEST_F(StepGpuTest, ARerunGivesTheSameBitsWithMemory) { expect_same_bits_again(gpu_run()); }

void expect_graphs_to_change_nothing(RunConfig config) {
  LoneReplica with(on_cuda(config), DType::kBFloat16);
  config.train.graphs = false;
  LoneReplica without(on_cuda(config), DType::kBFloat16);
  EXPECT_EQ(test::made_up_steps(*with, 12), test::made_up_steps(*without, 12));
  EXPECT_TRUE(test::bits_of(*with) == test::bits_of(*without));
  EXPECT_GE(with->graphs.num_launched(), 6);  // each input once as it is, and where its memory grew
  EXPECT_EQ(without->graphs.num_launched(), 0);
}

TEST_F(StepGpuTest, GraphsChangeNoBit) { expect_graphs_to_change_nothing(without_memory(gpu_run())); }
TEST_F(StepGpuTest, GraphsChangeNoBitWithMemory) { expect_graphs_to_change_nothing(gpu_run()); }
TEST_F(StepGpuTest, GraphsChangeNoBitOfManyMicroBatches) {
  RunConfig config = without_memory(gpu_run());
  config.train.global_batch = 40;
  config.train.micro_batch = 1;
  expect_graphs_to_change_nothing(config);
}

TEST_F(StepGpuTest, ProfilesBetweenGraphsChangeNoBit) {
  LoneReplica profiled(on_cuda(gpu_run()), DType::kBFloat16), plain(on_cuda(gpu_run()), DType::kBFloat16);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(test::made_up_steps(*profiled, 5), test::made_up_steps(*plain, 5));
    OpProfile profile;
    set_profile(profiled->stream, &profile);
    EXPECT_EQ(test::made_up_steps(*profiled, 2), test::made_up_steps(*plain, 2));
    set_profile(profiled->stream, nullptr);
    EXPECT_FALSE(profile.lines().empty());
  }
  EXPECT_TRUE(test::bits_of(*profiled) == test::bits_of(*plain));
  EXPECT_GT(profiled->graphs.num_launched(), 0);
  EXPECT_GT(plain->graphs.num_launched(), profiled->graphs.num_launched());
}

// Spoils one gain for the next step alone, in the values that the model computes with.
void set_gain(Replica& r, double value) {
  const Parameter& last = r.store.parameters().back();
  const bfloat16 narrow(static_cast<float>(value));
  float wide = static_cast<float>(value);
  const bool is_narrow = r.store.dtype() == DType::kBFloat16;
  void* source = is_narrow ? static_cast<void*>(const_cast<bfloat16*>(&narrow)) : &wide;
  copy(r.stream, Tensor(source, r.store.dtype(), {1}), last.value.reshape({last.numel()}).rows(5, 1));
  synchronize(r.stream);
}

void expect_skip(RunConfig config, DType dtype) {
  for (const TableOptimizerKind kind :
       {TableOptimizerKind::kAdamLazy, TableOptimizerKind::kAdamDense, TableOptimizerKind::kRowwiseAdam,
        TableOptimizerKind::kRowwiseAdagrad, TableOptimizerKind::kSgd}) {
    config.optimizer.table.kind = kind;
    LoneReplica with(on_cuda(config), dtype), without(on_cuda(config), dtype);
    test::made_up_steps(*with, 3);
    test::made_up_steps(*without, 3);
    const auto before = test::bits_of(*with);
    const Parameter& last = with->store.parameters().back();
    std::vector<std::byte> kept(static_cast<size_t>(size_of(last.value.dtype)));
    const Tensor element = last.value.reshape({last.numel()}).rows(5, 1);
    const Tensor saved(kept.data(), last.value.dtype, {1});
    copy(with->stream, element, saved);
    set_gain(*with, std::numeric_limits<double>::infinity());
    EXPECT_TRUE(test::made_up_step(*with).skipped);
    copy(with->stream, saved, element);
    EXPECT_EQ(with->state.history(with->stream).applied_updates, 3);
    EXPECT_TRUE(test::bits_of(*with) == before);
    ++without->step;  // both see the same data from here on
    EXPECT_EQ(test::made_up_steps(*with, 2), test::made_up_steps(*without, 2));
    EXPECT_TRUE(test::bits_of(*with) == test::bits_of(*without));
  }
}

TEST_F(StepGpuTest, ASkippedStepChangesNoBit) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) expect_skip(without_memory(gpu_run()), dtype);
}
TEST_F(StepGpuTest, ASkippedStepChangesNoBitWithMemory) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) expect_skip(gpu_run(), dtype);
}

}  // namespace
}  // namespace engram
