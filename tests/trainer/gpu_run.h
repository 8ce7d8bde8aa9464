#pragma once

#include "parallel/self_communicator.h"
#include "tests/trainer/checkpoint_testing.h"

// What the tests of training on CUDA share.
namespace engram::test {

// A model of every kind of layer, of widths that all CUDA forms take.
inline RunConfig gpu_run() {
  RunConfig c = tiny_run();
  c.model.hidden = 64;
  c.model.num_layers = 3;
  c.model.ffn_hidden = 96;
  c.model.attention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .qk_norm = true};
  c.model.moe = {.num_experts = 4, .top_k = 2, .num_shared_experts = 1, .expert_hidden = 32};
  c.model.engram.layers = {0, 2};
  c.model.engram.memory_dim = 64;
  c.model.engram.conv = true;
  c.data.seq_len = 48;
  c.train.micro_batch = 2;
  return c;
}

inline RunConfig without_memory(RunConfig config) {
  config.model.engram.layers = {};
  return config;
}

inline RunConfig on_cuda(RunConfig config) {
  config.device = DeviceChoice::kCuda;
  return config;
}

// A replica on this machine's first card, or on the CPU, alone in its world.
struct LoneReplica {
  LoneReplica(const RunConfig& config, DType dtype) : tiny(config, world, dtype) {}
  Replica* operator->() { return &tiny.replica; }
  Replica& operator*() { return tiny.replica; }

  SelfCommunicator world;
  TinyReplica tiny;
};

// Skips where there is no CUDA device.
struct TrainGpuTest : ::testing::Test {
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
  Arena host{Device::kCpu, int64_t{256} << 20, /*poison=*/true};

  // Values of any memory as doubles on the host.
  Tensor download(Stream& stream, const Tensor& values) {
    const Tensor staged = host.take("staged", values.dtype, {values.numel()});
    copy(stream, values, staged);
    synchronize(stream);
    const Tensor result = host.take("values", DType::kFloat64, {values.numel()});
    for (int64_t i = 0; i < values.numel(); ++i) {
      const bool narrow = values.dtype == DType::kBFloat16;
      set_element(result, i, narrow ? double{float(static_cast<const bfloat16*>(staged.data)[i])} : element(staged, i));
    }
    return result;
  }
};

}  // namespace engram::test
