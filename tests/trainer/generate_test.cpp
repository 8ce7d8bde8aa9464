#include "trainer/generate.h"

#include <limits>

#include "data/token_store.h"
#include "tests/data/temporary_directory.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/forward.h"

namespace engram {
namespace {

using test::tiny_run;
using test::TinyReplica;

constexpr int64_t kSeqLen = 12;
constexpr int32_t kEndOfText = 7;

TEST(SampleToken, TemperatureZeroTakesTheLikeliest) {
  const SamplingOptions greedy{.temperature = 0, .top_p = 1};
  for (const double random : {0.0, 0.5, 0.999999}) {
    EXPECT_EQ(sample_token({-1, 3, 2, -5}, greedy, random), 1);
    EXPECT_EQ(sample_token({0, 2, 2, 2}, greedy, random), 1);  // the first of equal ones
    EXPECT_EQ(sample_token({7}, greedy, random), 0);
  }
}

TEST(SampleToken, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> equal{1, 1, 1, 1};
  const auto last_kept = [&](double top_p) {
    return sample_token(equal, {.temperature = 1, .top_p = top_p}, 1 - 1e-9);
  };
  EXPECT_EQ(last_kept(1e-6), 0);
  EXPECT_EQ(last_kept(0.25), 0);
  EXPECT_EQ(last_kept(0.2501), 1);
  EXPECT_EQ(last_kept(0.5), 1);
  EXPECT_EQ(last_kept(0.75), 2);
  EXPECT_EQ(last_kept(0.76), 3);
  EXPECT_EQ(last_kept(1), 3);
}

// How often each token is drawn by evenly spaced numbers.
std::vector<double> frequencies(const std::vector<float>& logits, const SamplingOptions& options) {
  constexpr int kDraws = 40000;
  std::vector<double> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) {
    counts[static_cast<size_t>(sample_token(logits, options, (i + 0.5) / kDraws))] += 1.0 / kDraws;
  }
  return counts;
}

TEST(SampleToken, DrawsByProbability) {
  const std::vector<double> p{0.1, 0.4, 0.02, 0.3, 0.18};
  std::vector<float> logits;
  for (const double probability : p) logits.push_back(static_cast<float>(std::log(probability) + 5));
  for (const double temperature : {0.5, 1.0, 1.7}) {
    double all = 0, kept = 0;
    for (const double probability : p) all += std::pow(probability, 1 / temperature);
    for (const double probability : p) kept += probability > 0.15 ? std::pow(probability, 1 / temperature) : 0;
    const auto full = frequencies(logits, {.temperature = temperature, .top_p = 1});
    const auto cut = frequencies(logits, {.temperature = temperature, .top_p = (kept - 1e-3) / all});
    for (size_t i = 0; i < p.size(); ++i) {
      const double weight = std::pow(p[i], 1 / temperature);
      EXPECT_NEAR(full[i], weight / all, 1e-4) << "token " << i << ", temperature " << temperature;
      EXPECT_NEAR(cut[i], p[i] > 0.15 ? weight / kept : 0, 1e-4) << "token " << i << ", temperature " << temperature;
    }
  }
}

TEST(SampleToken, NeverTakesWhatIsImpossible) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  for (const double random : {0.0, 0.5, std::nextafter(1.0, 0.0)}) {
    EXPECT_EQ(sample_token({kNever, 2, kNever}, {.temperature = 3, .top_p = 1}, random), 1);
  }
  EXPECT_NE(sample_token({-1000, 1000, 999}, {.temperature = 1, .top_p = 1}, 0.9), 0);
  EXPECT_THROW(sample_token({1, std::nanf(""), 2}, {.temperature = 1, .top_p = 1}, 0.5), Error);
}

// Logits of every position of a batch of one sample, by one forward pass.
std::vector<std::vector<float>> forward_logits(Replica& r, const Batch& batch) {
  Arena::Scope scope(r.arena);
  BatchMemory memory;
  LanguageModel::Saved saved;
  const Tensor hidden = forward_batch(r, memory.upload(r.stream, batch, r.config.model.engram), saved);
  Context ctx = r.context(1, batch.seq_len);
  const Tensor logits = r.model.logits(ctx, hidden);
  const auto all = host_span<float>(logits);
  std::vector<std::vector<float>> rows;
  for (int64_t row = 0; row < logits.size(0); ++row) {
    rows.emplace_back(all.begin() + row * logits.size(1), all.begin() + (row + 1) * logits.size(1));
  }
  return rows;
}

// A store of the documents of a text, each of which ends with kEndOfText or where the text ends.
TokenStore store_of(const std::string& path, const std::vector<int32_t>& text, int64_t vocab_size) {
  std::vector<std::vector<int32_t>> documents(1);
  for (const int32_t token : text) {
    if (!documents.back().empty() && documents.back().back() == kEndOfText) documents.emplace_back();
    documents.back().push_back(token);
  }
  TokenStoreWriter writer(path, {.tokenizer_digest = "test",
                                 .vocab_size = vocab_size,
                                 .eos_id = kEndOfText,
                                 .num_tokens = std::ssize(text),
                                 .num_documents = std::ssize(documents)});
  for (const std::vector<int32_t>& document : documents) writer.append(document);
  writer.finish();
  return TokenStore::open(path);
}

void expect_near(const std::vector<float>& got, const std::vector<float>& want, size_t length) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1e-5 * (1 + std::abs(want[i]))) << "token " << i << " after " << length;
  }
}

// What training sees at the end of a window is what generation sees there.
void expect_same_as_training(const RunConfig& config) {
  std::vector<int32_t> text = test::made_up_batch(config, 1000, 1, 3 * kSeqLen).tokens;  // 4 windows and one token
  for (const size_t end : {3, 8, 9, 11, 22}) text[end] = kEndOfText;
  const test::TemporaryDirectory directory;
  run_ranks(1, [&](Communicator& world) {
    TinyReplica tiny(config, world, DType::kFloat32);
    for (int i = 0; i < 10; ++i) test::made_up_step(tiny.replica);
    Replica& r = tiny.replica;
    for (size_t length = 1; length <= text.size(); ++length) {
      const std::vector<int32_t> tokens(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
      const auto num_tokens = static_cast<int64_t>(length);
      Batch batch{.num_samples = 1, .history = r.history(), .seq_len = kSeqLen, .tokens = {}, .starts = {}};
      const int64_t first = std::max<int64_t>(num_tokens - kSeqLen, 0) - batch.history;
      for (int64_t at = first; at < first + batch.row_length(); ++at) {
        batch.tokens.push_back(at >= 0 && at < num_tokens ? text[static_cast<size_t>(at)] : 1);  // 1: must not count
        const bool is_behind_end = at > 0 && text[static_cast<size_t>(at - 1)] == kEndOfText;
        batch.starts.push_back(at == 0 || is_behind_end ? 1 : 0);
      }
      const auto rows = forward_logits(r, batch);
      expect_near(next_logits(r, tokens, kEndOfText), rows[static_cast<size_t>(std::min(num_tokens, kSeqLen) - 1)],
                  length);
    }
    const TokenStore store = store_of(directory / "store.h5", text, config.model.vocab_size);
    const BatchLoader loader(
        store, {.seq_len = kSeqLen, .history = r.history(), .seed = 0, .order = SampleOrder::kSequential});
    for (int64_t window = 0; window < 3; ++window) {
      const auto length = static_cast<size_t>((window + 1) * kSeqLen);
      const std::vector<int32_t> tokens(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
      expect_near(next_logits(r, tokens, kEndOfText), forward_logits(r, loader.load(window, 1)).back(), length);
    }
  });
}

TEST(Generate, SeesWhatTrainingSees) {
  expect_same_as_training(tiny_run());
  RunConfig long_memory = tiny_run();
  long_memory.model.engram.orders = {2, 3, 4, 5};
  long_memory.model.engram.memory_dim = 24;
  long_memory.model.engram.conv = true;
  expect_same_as_training(long_memory);
  RunConfig by_window = tiny_run();
  by_window.model.engram.boundary = NgramBoundary::kSequence;
  expect_same_as_training(by_window);
  RunConfig plain = tiny_run();
  plain.model.engram.layers = {};
  expect_same_as_training(plain);
}

std::vector<int32_t> generated(int num_ranks, const SamplingOptions& options, int32_t end_of_text = -1) {
  std::vector<int32_t> tokens;
  run_ranks(num_ranks, [&](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    for (int i = 0; i < 3; ++i) test::made_up_step(tiny.replica);
    std::vector<int32_t> mine;
    generate(tiny.replica, {5, 9}, options, end_of_text, [&](int32_t token) { mine.push_back(token); });
    if (world.rank() == 0) tokens = mine;
    world.barrier();
    EXPECT_EQ(mine, tokens) << "rank " << world.rank();
  });
  return tokens;
}

TEST(Generate, GivesTheSameTokensOnAnyNumberOfRanks) {
  const SamplingOptions options{.num_tokens = 40, .temperature = 1, .top_p = 0.9, .seed = 8};
  const std::vector<int32_t> one = generated(1, options);
  EXPECT_EQ(one.size(), 40u);
  EXPECT_EQ(generated(1, options), one);
  for (const int num_ranks : {2, 4}) EXPECT_EQ(generated(num_ranks, options), one);
  SamplingOptions other = options;
  other.seed = 9;
  EXPECT_NE(generated(1, other), one);
}

TEST(Generate, EndsWhereItIsTold) {
  const SamplingOptions options{.num_tokens = 40, .temperature = 1, .top_p = 1, .seed = 8};
  const std::vector<int32_t> all = generated(1, options);
  const auto end = std::find(all.begin(), all.end(), all[20]);
  EXPECT_EQ(generated(2, options, all[20]), std::vector<int32_t>(all.begin(), end));
  EXPECT_TRUE(generated(2, {.num_tokens = 0}).empty());
}

TEST(Generate, RefusesAnEmptyPrompt) {
  run_ranks(1, [](Communicator& world) {
    TinyReplica tiny(tiny_run(), world, DType::kFloat32);
    const auto ignore = [](int32_t) {};
    EXPECT_NE(test::error_of([&] { generate(tiny.replica, {}, {}, -1, ignore); }).find("the prompt has no token"),
              std::string::npos);
  });
}

}  // namespace
}  // namespace engram
