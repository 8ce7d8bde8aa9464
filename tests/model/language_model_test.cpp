#include "model/language_model.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "kernels/elementwise.h"
#include "tests/testing.h"

namespace engram {
namespace {

constexpr int64_t kSequences = 2, kSeqLen = 7, kTokens = kSequences * kSeqLen;

// One dense and one MoE layer, both with memory; every option that has parameters is on.
ModelConfig small_model() {
  ModelConfig c;
  c.vocab_size = 19;
  c.hidden = 12;
  c.num_layers = 2;
  c.num_dense_layers = 1;
  c.ffn_hidden = 10;
  c.init_std = 0.4;
  c.attention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 6, .qk_norm = true};
  c.moe = {.num_experts = 5, .top_k = 2, .num_shared_experts = 1, .expert_hidden = 7, .route_scale = 1.5};
  c.engram.layers = {0, 1};
  c.engram.heads = 1;
  c.engram.memory_dim = 6;
  c.engram.rows_per_head = {11};
  c.engram.conv = true;
  return c;
}

// A model in double with random parameters, its inputs, and a memory of kRows rows that were "fetched".
struct Model {
  static constexpr int64_t kRows = 9;

  Model(const ModelConfig& model_config, const LanguageModelOptions& options)
      : config(model_config), store(DType::kFloat64), model(store, config, options) {
    store.allocate(stream, 1, 0);  // a bucket for each layer
    store.initialize(stream, 12);
    for (const Parameter& p : store.parameters()) {  // gains away from 1, convolution away from 0
      for (int64_t i = 0; i < p.numel(); ++i) {
        const double noise = 0.2 * normal(7, RandomDomain::kSampling, 1, static_cast<uint64_t>(p.value.numel() + i));
        test::set_element(p.value, i, test::element(p.value, i) + noise);
      }
    }
    const int64_t columns = config.engram.num_columns();
    rows = test::random_tensor<double>(arena, 21, {kRows, config.engram.row_width()});
    row_grads = test::constant_tensor(arena, 0.0, {kRows, config.engram.row_width()});
    loads = test::constant_tensor<int64_t>(arena, 0, {config.num_mixtures(), config.moe.num_experts});
    fetched = FetchedRows(rows);
    batch = {.tokens = ids(1, kTokens, config.vocab_size).reshape({kTokens}),
             .targets = ids(2, kTokens, config.vocab_size).reshape({kTokens}),
             .starts = test::constant_tensor<uint8_t>(arena, 0, {kSequences, kSeqLen}),
             .memory = {.fetched = &fetched, .index = {}, .grads = {}}};
    view<uint8_t, 2>(batch.starts)(1, 3) = 1;
    host_span<int32_t>(batch.targets)[4] = -1;
    for (uint64_t layer = 0; layer < config.engram.layers.size(); ++layer) {
      const Tensor index = arena.take("index", DType::kInt64, {kTokens * columns});
      const Tensor random = ids(30 + layer, kTokens * columns, kRows);
      for (int64_t i = 0; i < index.numel(); ++i) host_span<int64_t>(index)[i] = host_span<int32_t>(random)[i];
      batch.memory.index.push_back(index);
      batch.memory.grads.push_back(
          arena.take("grads", DType::kFloat64, {kTokens * columns, config.engram.row_width()}));
    }
  }

  Tensor ids(uint64_t seed, int64_t count, int64_t limit) {
    const Tensor tensor = arena.take("ids", DType::kInt32, {count});
    for (int64_t i = 0; i < count; ++i) {
      host_span<int32_t>(tensor)[i] =
          static_cast<int32_t>(philox(seed, static_cast<uint64_t>(i), 0).word[0] % static_cast<uint64_t>(limit));
    }
    return tensor;
  }

  Context context() {
    return {.stream = stream,
            .arena = arena,
            .num_sequences = kSequences,
            .seq_len = kSeqLen,
            .before_layer = before_layer,
            .on_gradients = on_gradients};
  }

  // Sum of the losses.
  double loss() {
    Arena::Scope scope(arena);
    Context ctx = context();
    LanguageModel::Saved saved;
    const Tensor losses = arena.take("losses", DType::kFloat64, {kTokens});
    model.loss(ctx, model.forward(ctx, batch, saved), batch.targets, {.with_gradient = false}, losses);
    double sum = 0;
    for (const double value : host_span<double>(losses)) sum += value;
    return sum;
  }

  void add_gradients(LanguageModel::Saved& saved, bool count_statistics = false) {
    Context ctx = context();
    ctx.count_statistics = count_statistics;
    ctx.loads = loads;
    ctx.gate_sums = test::constant_tensor(arena, 0.0, {std::ssize(config.engram.layers)});
    const Tensor losses = arena.take("losses", DType::kFloat64, {kTokens});
    const Tensor hidden = model.forward(ctx, batch, saved);
    const Tensor dhidden = model.loss(ctx, hidden, batch.targets, {}, losses);
    model.backward(ctx, dhidden, batch, saved);
    for (size_t layer = 0; layer < batch.memory.index.size(); ++layer) add_row_gradients(layer);
  }

  void add_row_gradients(size_t layer) {
    const auto grads = view<double, 2>(batch.memory.grads[layer]), sums = view<double, 2>(row_grads);
    for (int64_t i = 0; i < grads.size(0); ++i) {
      const int64_t row = host_span<int64_t>(batch.memory.index[layer])[static_cast<size_t>(i)];
      for (int64_t c = 0; c < grads.size(1); ++c) sums(row, c) += grads(i, c);
    }
  }

  Stream stream = CpuQueue{};
  Arena arena{Device::kCpu, int64_t{64} << 20, /*poison=*/true};
  ModelConfig config;
  ParameterStore store;
  LanguageModel model;
  Tensor rows, row_grads, loads;
  FetchedRows fetched;
  MicroBatch batch;
  std::function<void(int64_t)> before_layer, on_gradients;
};

// Central differences hold only away from the gate's clamp and from a change of the chosen experts.
void expect_smooth(const Model& m, const LanguageModel::Saved& saved) {
  for (const Block::Saved& block : saved.blocks) {
    for (const double score : host_span<double>(block.engram.gate.score)) EXPECT_GE(std::abs(score), 1e-2);
  }
  const auto logits = view<double, 2>(saved.blocks[1].moe.logits);
  for (int64_t token = 0; token < kTokens; ++token) {
    std::vector<double> sorted(logits.row(token), logits.row(token) + m.config.moe.num_experts);
    std::sort(sorted.rbegin(), sorted.rend());
    EXPECT_GT(sorted[1] - sorted[2], 1e-2);
  }
}

TEST(LanguageModel, EveryGradientMatchesCentralDifferences) {
  Model m(small_model(), {.logits_chunk = 5});
  Arena::Scope scope(m.arena);
  LanguageModel::Saved saved;
  m.add_gradients(saved);
  expect_smooth(m, saved);
  const auto loss = [&] { return m.loss(); };
  for (const Parameter& p : m.store.parameters()) {
    Arena::Scope inner(m.arena);
    EXPECT_LT(test::relative_error(p.grad, test::numeric_gradient(m.arena, p.value, loss, 1e-4)), 1e-6) << p.name;
    EXPECT_GT(test::dot(p.grad, p.grad), 0) << p.name;
  }
  EXPECT_LT(test::relative_error(m.row_grads, test::numeric_gradient(m.arena, m.rows, loss, 1e-4)), 1e-6);
}

void expect_gradients_of_memory(Model& m, LanguageModel::Saved& saved) {
  m.add_gradients(saved);
  const auto loss = [&] { return m.loss(); };
  for (const Parameter& p : m.store.parameters()) {
    Arena::Scope inner(m.arena);
    EXPECT_EQ(p.name.find("engram.query_norm"), std::string::npos) << "nothing is asked without a gate";
    if (p.name.find("engram") == std::string::npos && p.name.find("embedding") == std::string::npos) continue;
    EXPECT_LT(test::relative_error(p.grad, test::numeric_gradient(m.arena, p.value, loss, 1e-4)), 1e-6) << p.name;
  }
  EXPECT_LT(test::relative_error(m.row_grads, test::numeric_gradient(m.arena, m.rows, loss, 1e-4)), 1e-6);
}

TEST(LanguageModel, MemoryWithoutAGateGivesHalfOfItsValue) {
  ModelConfig config = small_model();
  config.engram.fusion = MemoryFusion::kHalf;
  Model m(config, {});
  Arena::Scope scope(m.arena);
  LanguageModel::Saved saved;
  expect_gradients_of_memory(m, saved);
  for (const int64_t layer : config.engram.layers) {
    const Engram::Saved& engram = saved.blocks[static_cast<size_t>(layer)].engram;
    const auto value = host_span<double>(engram.kv), gated = host_span<double>(engram.gated);
    ASSERT_EQ(value.size(), gated.size());
    for (size_t i = 0; i < value.size(); ++i) EXPECT_EQ(gated[i], value[i] / 2);
  }
}

TEST(LanguageModel, OverEncodingIsTheMeanOfEmbeddingAndMemory) {
  ModelConfig config = small_model();
  config.engram.fusion = MemoryFusion::kMean;
  config.engram.layers = {0};
  config.engram.conv = false;
  Model m(config, {});
  Arena::Scope scope(m.arena);
  LanguageModel::Saved saved;
  expect_gradients_of_memory(m, saved);
  const Engram::Saved& engram = saved.blocks[0].engram;
  const auto value = host_span<double>(engram.kv), h = host_span<double>(engram.streams);
  const auto y = host_span<double>(engram.gated);
  ASSERT_EQ(value.size(), y.size());
  for (size_t i = 0; i < value.size(); ++i) EXPECT_NEAR(h[i] + y[i], (h[i] + value[i]) / 2, 1e-15);
}

TEST(LanguageModel, BackwardTwiceAddsExactlyTwice) {
  Model m(small_model(), {});
  LanguageModel::Saved first, second;
  m.add_gradients(first);
  const Tensor once = test::clone(m.arena, m.store.grads()), once_rows = test::clone(m.arena, m.row_grads);
  Model again(small_model(), {});
  for (int pass = 0; pass < 2; ++pass) again.add_gradients(second);
  // Sums of the same terms in another order: equal to rounding, and not one term more or less.
  scale(m.stream, 2.0, once, once);
  scale(m.stream, 2.0, once_rows, once_rows);
  EXPECT_LT(test::relative_error(again.store.grads(), once), 1e-14);
  EXPECT_LT(test::relative_error(again.row_grads, once_rows), 1e-14);
}

TEST(LanguageModel, RecomputeGivesTheSameBits) {
  Model keep(small_model(), {}), recompute(small_model(), {.recompute = true});
  LanguageModel::Saved kept, dropped;
  keep.add_gradients(kept);
  recompute.add_gradients(dropped);
  EXPECT_TRUE(test::same_bits(keep.store.grads(), recompute.store.grads()));
  EXPECT_TRUE(test::same_bits(keep.row_grads, recompute.row_grads));
  EXPECT_LT(recompute.arena.peak_bytes(), keep.arena.peak_bytes());
}

TEST(LanguageModel, RecomputeCountsTheLoadOnce) {
  for (const bool recompute : {false, true}) {
    Model m(small_model(), {.recompute = recompute});
    LanguageModel::Saved saved;
    m.add_gradients(saved, /*count_statistics=*/true);
    const auto load = host_span<int64_t>(m.loads.rows(0, 1));
    EXPECT_EQ(std::accumulate(load.begin(), load.end(), int64_t{0}), kTokens * m.config.moe.top_k);
    m.loss();  // evaluation counts nothing
    EXPECT_EQ(std::accumulate(load.begin(), load.end(), int64_t{0}), kTokens * m.config.moe.top_k);
  }
}

std::vector<double> elements(const Tensor& tensor) {
  const auto span = host_span<double>(tensor);
  return {span.begin(), span.end()};
}

// With weights that are there when forward asks for their layer, and not before.
void expect_layers_to_be_told(const ModelConfig& config, const LanguageModelOptions& options) {
  Model want(config, options), m(config, options);
  LanguageModel::Saved want_saved, saved;
  want.add_gradients(want_saved);

  const std::vector<ParameterBucket>& buckets = m.store.buckets();
  ASSERT_EQ(std::ssize(buckets), config.num_layers + 1);
  std::vector<std::vector<double>> values, told(buckets.size());
  for (const ParameterBucket& bucket : buckets) {
    values.push_back(elements(bucket.values));
    std::ranges::fill(host_span<double>(bucket.values), std::nan(""));
  }
  m.before_layer = [&](int64_t layer) {
    for (size_t i = 0; i < buckets.size(); ++i) {
      if (buckets[i].first_layer <= layer) std::ranges::copy(values[i], host_span<double>(buckets[i].values).begin());
    }
  };
  m.on_gradients = [&](int64_t layer) {
    for (size_t i = 0; i < buckets.size(); ++i) {
      if (buckets[i].first_layer >= layer && told[i].empty()) told[i] = elements(buckets[i].grads);
    }
  };
  m.add_gradients(saved);
  EXPECT_TRUE(test::same_bits(m.store.grads(), want.store.grads())) << "weights were read too early";
  EXPECT_TRUE(told[0].empty()) << "the embedding is complete after all layers";
  for (size_t i = 1; i < buckets.size(); ++i) EXPECT_EQ(told[i], elements(buckets[i].grads)) << "bucket " << i;
}

TEST(LanguageModel, TellsWhenItReadsALayersWeightsAndWhenItsGradientsAreComplete) {
  for (const bool tied : {false, true}) {
    for (const bool recompute : {false, true}) {
      SCOPED_TRACE(fmt::format("tied: {}, recompute: {}", tied, recompute));
      ModelConfig config = small_model();
      config.tie_embeddings = tied;
      expect_layers_to_be_told(config, {.recompute = recompute});
    }
  }
}

TEST(LanguageModel, LogitsChunkChangesNothingButRounding) {
  Model whole(small_model(), {.logits_chunk = 1000}), chunked(small_model(), {.logits_chunk = 3});
  EXPECT_NEAR(whole.loss(), chunked.loss(), 1e-12);
}

TEST(LanguageModel, LooksAtNothingAhead) {
  Model m(small_model(), {});
  Context ctx = m.context();
  LanguageModel::Saved saved;
  const Tensor before = test::clone(m.arena, m.model.forward(ctx, m.batch, saved));
  host_span<int32_t>(m.batch.tokens)[5] = (host_span<int32_t>(m.batch.tokens)[5] + 1) % 19;
  const Tensor after = m.model.forward(ctx, m.batch, saved);
  EXPECT_TRUE(test::same_bits(before.rows(0, 5), after.rows(0, 5)));
  EXPECT_FALSE(test::same_bits(before.rows(5, 1), after.rows(5, 1)));
  EXPECT_TRUE(test::same_bits(before.rows(7, 7), after.rows(7, 7)));  // the other sequence
}

TEST(LanguageModel, TiedHeadAddsToTheEmbedding) {
  ModelConfig config = small_model();
  config.tie_embeddings = true;
  Model m(config, {});
  LanguageModel::Saved saved;
  m.add_gradients(saved);
  const Parameter& embedding = m.store.parameters().front();
  Arena::Scope scope(m.arena);
  const Tensor numeric = test::numeric_gradient(
      m.arena, embedding.value, [&] { return m.loss(); }, 1e-4);
  EXPECT_LT(test::relative_error(embedding.grad, numeric), 1e-6);
}

}  // namespace
}  // namespace engram
