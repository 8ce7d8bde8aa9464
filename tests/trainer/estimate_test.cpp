#include "trainer/estimate.h"

#include <sys/resource.h>

#include <chrono>

#include "data/token_store.h"
#include "tests/data/temporary_directory.h"
#include "tests/trainer/tiny_run.h"

namespace engram {
namespace {

using test::tiny_run;
using test::TinyReplica;

// Numbers of tiny_run(), counted by hand.
constexpr int64_t kAttention = 2 * 16 * 16 + 2 * 16 * 8;            // q, o; k, v
constexpr int64_t kMixture = 4 * 16 + 4 * 3 * 16 * 8 + 3 * 16 * 8;  // router, routed experts, shared expert
constexpr int64_t kEngram = 2 * 16 * 12 + 2 * 16;                   // key and value projections, two gains
constexpr int64_t kDense = 2 * 61 * 16 + 2 * kAttention + 3 * 16 * 24 + kMixture + 2 * kEngram + 5 * 16;  // + norms
constexpr int64_t kBlocks = 5 + 6;  // of 256 rows, in tables of 307 + 311 + 313 + 317 and 331 + 337 + 347 + 349 rows
constexpr int64_t kWidth = 12 / 4;

TEST(EstimateMemory, CategoriesByHand) {
  for (const int64_t num_ranks : {1, 2, 4}) {
    const MemoryEstimate m = estimate_memory(tiny_run(), num_ranks);
    EXPECT_EQ(m.parameters, 4 * kDense);
    EXPECT_EQ(m.gradients, 4 * kDense);
    EXPECT_EQ(m.optimizer, 8 * kDense / num_ranks);
    const int64_t slots = (kBlocks + num_ranks - 1) / num_ranks * 256;  // of rank 0
    EXPECT_EQ(m.tables, slots * kWidth * 4);
    EXPECT_EQ(m.table_optimizer, slots * (2 * kWidth * 4 + 4));  // m, v, the row's count
    const int64_t rows = 4 / num_ranks * 12 * 4 * 2;             // sequences, tokens, columns, layers
    EXPECT_EQ(m.exchange, rows * kWidth * 4 * 5);
    EXPECT_EQ(m.data, 0);  // its files are not there
    const int64_t sums = num_ranks > 1 ? m.gradients : 0, saving = 5 << 20;
    EXPECT_EQ(m.workspace, sums + checkpoint_bytes(tiny_run(), num_ranks) / num_ranks + saving);
    RunConfig at_once = tiny_run();
    at_once.checkpoint.asynchronous = false;
    at_once.parallel.bucket_mib = 32;  // one bucket, of which a rank's part is larger than any parameter
    EXPECT_EQ(estimate_memory(at_once, num_ranks).workspace, 4 * 2 * 16 * 8 * 4 + saving);  // the experts, and no sums
    EXPECT_GT(m.context, 20 << 20);
    EXPECT_EQ(m.total(), m.parameters + m.gradients + m.optimizer + m.tables + m.table_optimizer + m.exchange +
                             m.expert_exchange + m.activations + m.workspace + m.context);
  }
}

TEST(EstimateMemory, OfStoresHoldsTheirIndexes) {
  const test::TemporaryDirectory directory;
  RunConfig config = tiny_run();
  config.data.validation = directory / "store.h5";
  config.data.train = {{.store = config.data.validation, .weight = 1}};
  constexpr int64_t kNumDocuments = 3000, kLength = 100;
  TokenStoreWriter writer(config.data.validation, {.tokenizer_digest = "d",
                                                   .vocab_size = 100000,
                                                   .eos_id = 0,
                                                   .num_tokens = kNumDocuments * kLength,
                                                   .num_documents = kNumDocuments});
  for (int64_t i = 0; i < kNumDocuments; ++i) writer.append(std::vector<int32_t>(kLength));
  writer.finish();
  const int64_t num_bytes = 2 * TokenStore::memory_of(config.data.validation);
  EXPECT_LT(num_bytes, 2 * (8 * kNumDocuments + 20000));
  EXPECT_EQ(estimate_memory(config, 1).data, num_bytes);
  EXPECT_EQ(estimate_memory(config, 1).host.data, 0);
  config.device = DeviceChoice::kCuda;
  EXPECT_EQ(estimate_memory(config, 1).data, 0);
  EXPECT_EQ(estimate_memory(config, 1).host.data, num_bytes);
  EXPECT_NE(estimate_text(config, 1).find("indexes of stores, tokenizer"), std::string::npos);
}

TEST(EstimateMemory, OfSharedExpertsByHand) {
  constexpr int64_t kExperts = 4 * 3 * 16 * 8;
  RunConfig config = tiny_run();
  config.parallel.expert = 2;
  for (const int64_t num_ranks : {2, 4}) {
    const MemoryEstimate m = estimate_memory(config, num_ranks);
    EXPECT_EQ(m.parameters, 4 * (kDense - kExperts / 2));
    EXPECT_EQ(m.gradients, m.parameters);
    EXPECT_EQ(m.optimizer, 8 * kDense / num_ranks);
    EXPECT_EQ(m.expert_exchange, 3 * 12 * 2 * 16 * 4);  // one sent, two come: 12 tokens, 2 choices, width 16
  }
}

TEST(EstimateMemory, MomentsInBFloat16TakeHalf) {
  RunConfig narrow = tiny_run();
  narrow.optimizer.dense.moments = Moments::kBFloat16;
  EXPECT_EQ(estimate_memory(narrow, 1).optimizer, 4 * kDense);
  EXPECT_EQ(checkpoint_bytes(tiny_run(), 1) - checkpoint_bytes(narrow, 1), 4 * kDense);
  narrow.device = DeviceChoice::kCuda;
  EXPECT_EQ(estimate_memory(narrow, 2).optimizer, (4 + 4) * kDense / 2);  // the master copy, and both moments
}

TEST(EstimateMemory, TableOptimizersDiffer) {
  RunConfig config = tiny_run();
  config.optimizer.table.kind = TableOptimizerKind::kAdamDense;
  EXPECT_EQ(estimate_memory(config, 1).table_optimizer, kBlocks * 256 * 2 * kWidth * 4);
  config.optimizer.table.kind = TableOptimizerKind::kRowwiseAdam;  // m, the row's v, the row's count
  EXPECT_EQ(estimate_memory(config, 1).table_optimizer, kBlocks * 256 * (kWidth * 4 + 4 + 4));
  config.optimizer.table.kind = TableOptimizerKind::kRowwiseAdagrad;  // the row's sum
  EXPECT_EQ(estimate_memory(config, 1).table_optimizer, kBlocks * 256 * 4);
  config.optimizer.table.kind = TableOptimizerKind::kSgd;
  EXPECT_EQ(estimate_memory(config, 1).table_optimizer, 0);
  config.model.engram.layers = {};
  const MemoryEstimate m = estimate_memory(config, 1);
  EXPECT_EQ(m.tables + m.table_optimizer + m.exchange, 0);
}

TEST(EstimateMemory, OfACardByHand) {
  RunConfig config = tiny_run();
  config.device = DeviceChoice::kCuda;
  for (const int64_t num_ranks : {1, 2, 4}) {
    const MemoryEstimate m = estimate_memory(config, num_ranks), on_cpu = estimate_memory(tiny_run(), num_ranks);
    EXPECT_EQ(m.parameters, 2 * kDense);              // bfloat16
    EXPECT_EQ(m.gradients, 4 * kDense);               // float32
    EXPECT_EQ(m.optimizer, 12 * kDense / num_ranks);  // master copy, m, v
    EXPECT_EQ(m.tables, on_cpu.tables);
    EXPECT_EQ(m.table_optimizer, on_cpu.table_optimizer);
    EXPECT_LT(m.activations, on_cpu.activations);
    EXPECT_GT(m.workspace, 2 * config.train.micro_batch * config.model.attention.num_heads * 128 * 128);
    EXPECT_GT(m.context, 0);
    EXPECT_EQ(m.total(), m.parameters + m.gradients + m.optimizer + m.tables + m.table_optimizer + m.exchange +
                             m.expert_exchange + m.activations + m.workspace + m.context);
  }
  EXPECT_NE(estimate_text(config, 1).find("program, libraries, driver"), std::string::npos);
}

TEST(EstimateMemory, OfTablesOnTheHostByHand) {
  RunConfig config = tiny_run();
  config.device = DeviceChoice::kCuda;
  config.checkpoint.asynchronous = false;
  for (const int64_t num_ranks : {1, 2, 4}) {
    const MemoryEstimate on_card = estimate_memory(config, num_ranks);
    RunConfig on_host = config;
    on_host.parallel.table_placement = TablePlacement::kHost;
    const MemoryEstimate m = estimate_memory(on_host, num_ranks);
    EXPECT_EQ(on_card.host.total(), 0);
    EXPECT_EQ(m.tables + m.table_optimizer, 0);
    EXPECT_EQ(m.host.tables, on_card.tables);
    EXPECT_EQ(m.host.table_optimizer, on_card.table_optimizer);
    const int64_t moved = 4 / num_ranks * 12 * 4 * 2 * (3 * kWidth * 4 + 4);  // requests; row, m, v, count
    EXPECT_EQ(m.host.rows, 2 * moved);
    EXPECT_EQ(m.exchange, on_card.exchange + 3 * moved);
    EXPECT_EQ(m.host.total(), m.host.tables + m.host.table_optimizer + m.host.rows);
    on_host.checkpoint.asynchronous = true;
    EXPECT_EQ(estimate_memory(on_host, num_ranks).host.saving, checkpoint_bytes(config, num_ranks) / num_ranks);
    EXPECT_NE(estimate_text(on_host, num_ranks).find("host memory of each rank"), std::string::npos);
  }
}

// Requests beyond the number of rows cannot be distinct.
TEST(EstimateMemory, ACardHoldsNoMoreDistinctRowsThanThereAre) {
  RunConfig config = tiny_run();
  config.device = DeviceChoice::kCuda;
  config.data.seq_len = 4096;
  const int64_t requests = 4 * 4096 * 4 * 2;
  EXPECT_EQ(estimate_memory(config, 1).exchange, kBlocks * 256 * 2 * kWidth * 6 + requests * (kWidth * 2 + 40));
}

TEST(EstimateMemory, IsWhatAReplicaHolds) {
  RunConfig config = tiny_run();
  for (const auto& [num_ranks, kind] : {std::pair{1, TableOptimizerKind::kAdamLazy},
                                        {2, TableOptimizerKind::kRowwiseAdam},
                                        {4, TableOptimizerKind::kRowwiseAdagrad}}) {
    config.optimizer.table.kind = kind;
    const MemoryEstimate m = estimate_memory(config, num_ranks);
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(config, world, DType::kFloat32);
      Replica& r = tiny.replica;
      const int64_t padding = 64 * 4 * (static_cast<int64_t>(r.store.parameters().size()) + world.size());
      EXPECT_GE(r.store.values().num_bytes(), m.parameters);
      EXPECT_LE(r.store.values().num_bytes(), m.parameters + padding);
      EXPECT_EQ(r.store.grads().num_bytes(), r.store.values().num_bytes());
      if (world.rank() != 0) return;  // rank 0 has the most rows
      EXPECT_EQ(r.memory->table().weight().num_bytes(), m.tables);
      int64_t state = 0;
      for (const OptimizerArray& array : r.memory->optimizer_state()) state += array.value.num_bytes();
      EXPECT_EQ(state, m.table_optimizer);
    });
  }
}

void expect_exact_activations(const RunConfig& config, int num_ranks) {
  constexpr int64_t kReserve = 1 << 16;
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const int64_t estimated = activation_bytes(config, num_ranks, dtype) - kReserve;
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(config, world, dtype);
      test::made_up_step(tiny.replica);
      const auto peak = static_cast<double>(tiny.replica.arena.peak_bytes());
      EXPECT_NEAR(peak / static_cast<double>(estimated), 1, 0.03) << tiny.replica.arena.report();
    });
  }
}

TEST(ActivationBytes, EqualThePeakOfAStep) {
  RunConfig base = tiny_run();
  base.data.seq_len = 96;  // so that the reserve hides nothing
  base.train.global_batch = 8;
  for (const int num_ranks : {1, 2, 4}) expect_exact_activations(base, num_ranks);

  RunConfig recompute = base, wide = base, plain = base, dense = base, conv = base, chunk = base;
  recompute.train.recompute = true;
  wide.train.micro_batch = 4;
  plain.model.engram.layers = {};
  dense.model.moe.num_experts = 0;
  conv.model.engram.conv = true;
  conv.model.attention.qk_norm = true;
  conv.model.tie_embeddings = true;
  chunk.train.logits_chunk = 20;
  for (const RunConfig& config : {recompute, wide, plain, dense, conv, chunk}) expect_exact_activations(config, 2);
  EXPECT_LT(activation_bytes(recompute, 2, DType::kFloat32), activation_bytes(base, 2, DType::kFloat32));
}

// About 27 billion parameters, 5 of them in tables.
RunConfig large_run() {
  RunConfig c = tiny_run();
  c.model.vocab_size = 129280;
  c.model.hidden = 2560;
  c.model.num_layers = 30;
  c.model.ffn_hidden = 12288;
  c.model.attention = {.num_heads = 32, .num_kv_heads = 8, .head_dim = 128};
  c.model.moe = {.num_experts = 72, .top_k = 6, .num_shared_experts = 2, .expert_hidden = 1280};
  c.model.engram.layers = {1, 15};
  c.model.engram.heads = 8;
  c.model.engram.memory_dim = 1280;
  c.model.engram.rows_per_head = {2000000};
  c.data.seq_len = 4096;
  c.train.global_batch = 1024;
  return c;
}

int64_t peak_resident_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(Estimate, OfALargeRunTakesNeitherTimeNorMemory) {
  const int64_t before = peak_resident_kib();
  const auto begin = std::chrono::steady_clock::now();
  const std::string text = estimate_text(large_run(), 64);
  const MemoryEstimate m = estimate_memory(large_run(), 64);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 1.0);
  EXPECT_LT(peak_resident_kib() - before, 64 << 10);
  EXPECT_GT(m.parameters, int64_t{80} << 30);
  EXPECT_GT(m.activations, int64_t{1} << 30);
  EXPECT_NE(text.find("memory of each of 64 ranks"), std::string::npos) << text;
}

}  // namespace
}  // namespace engram
