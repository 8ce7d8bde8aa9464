#include "data/batch_loader.h"

#include <algorithm>
#include <set>

#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

constexpr int64_t kSeqLen = 8, kHistory = 3;

struct BatchLoaderTest : ::testing::Test {
  test::TemporaryDirectory directory;
  const std::string path = directory / "store.h5";

  // Token i is i + 1, so that a token tells its position; documents start at multiples of 7, then of 20 as well.
  TokenStore make_store(int64_t num_tokens) {
    std::vector<int64_t> offsets;
    for (int64_t i = 0; i < num_tokens; ++i) {
      if (i % 7 == 0 || i % 20 == 0) offsets.push_back(i);
    }
    const auto num_documents = static_cast<int64_t>(offsets.size());
    offsets.push_back(num_tokens);
    TokenStoreWriter writer(path, {.tokenizer_digest = "d",
                                   .vocab_size = num_tokens + 1,
                                   .eos_id = 0,
                                   .num_tokens = num_tokens,
                                   .num_documents = num_documents});
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      std::vector<int32_t> document;
      for (int64_t token = offsets[i]; token < offsets[i + 1]; ++token)
        document.push_back(static_cast<int32_t>(token) + 1);
      writer.append(document);
    }
    writer.finish();
    return TokenStore::open(path);
  }
  static BatchLoaderOptions options(uint64_t seed = 1, SampleOrder order = SampleOrder::kShuffled) {
    return {.seq_len = kSeqLen, .history = kHistory, .seed = seed, .order = order};
  }
};

void append(Batch& all, const Batch& part) {
  all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
  all.starts.insert(all.starts.end(), part.starts.begin(), part.starts.end());
}

// Position p of the store must read p + 1, a position before it 0, and starts follow the rule of make_store().
TEST_F(BatchLoaderTest, RowsAreHistoryWindowAndLastTarget) {
  const TokenStore store = make_store(500);
  const BatchLoader loader(store, options());
  const int64_t num_windows = loader.num_windows();
  EXPECT_EQ(num_windows, 499 / kSeqLen);
  const Batch batch = loader.load(0, num_windows);
  ASSERT_EQ(batch.row_length(), kHistory + kSeqLen + 1);
  ASSERT_EQ(static_cast<int64_t>(batch.tokens.size()), num_windows * batch.row_length());
  ASSERT_EQ(batch.starts.size(), batch.tokens.size());
  for (int64_t row = 0; row < num_windows; ++row) {
    for (int64_t column = 0; column < batch.row_length(); ++column) {
      const int64_t position = loader.window_of(row) * kSeqLen - kHistory + column;
      const auto at = static_cast<size_t>(row * batch.row_length() + column);
      EXPECT_EQ(batch.tokens[at], std::max<int64_t>(0, position + 1));
      EXPECT_EQ(batch.starts[at], position >= 0 && (position % 7 == 0 || position % 20 == 0));
    }
  }
}

TEST_F(BatchLoaderTest, EveryEpochHoldsEveryWindowOnce) {
  const TokenStore store = make_store(1000);
  const BatchLoader loader(store, options());
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < loader.num_windows(); ++i)
      order.push_back(loader.window_of(epoch * loader.num_windows() + i));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], static_cast<int64_t>(i));
  }
  EXPECT_EQ(orders.size(), 5u);
  const BatchLoader other(store, options(2));
  EXPECT_NE(loader.load(0, 50).tokens, other.load(0, 50).tokens);
}

TEST_F(BatchLoaderTest, SequentialOrderIsTheStore) {
  const TokenStore store = make_store(500);
  const BatchLoader loader(store, options(1, SampleOrder::kSequential));
  for (int64_t sample = 0; sample < 2 * loader.num_windows(); ++sample) {
    EXPECT_EQ(loader.window_of(sample), sample % loader.num_windows());
  }
}

// A global batch is split contiguously over P ranks; joined again it is the same stream at every P.
TEST_F(BatchLoaderTest, OrderElastic) {
  const TokenStore store = make_store(700);
  constexpr int64_t kGlobalBatch = 24, kSteps = 15;  // more than four epochs
  const Batch want = BatchLoader(store, options()).load(0, kGlobalBatch * kSteps);
  for (const int64_t num_ranks : {1, 2, 3, 4, 8}) {
    Batch got;
    for (int64_t step = 0; step < kSteps; ++step) {
      for (int64_t rank = 0; rank < num_ranks; ++rank) {
        const BatchLoader loader(store, options());
        const int64_t share = kGlobalBatch / num_ranks;
        append(got, loader.load(step * kGlobalBatch + rank * share, share));
      }
    }
    EXPECT_EQ(got.tokens, want.tokens) << num_ranks << " ranks";
    EXPECT_EQ(got.starts, want.starts) << num_ranks << " ranks";
  }
}

// Twenty restarts at odd places: the samples seen are those of the unbroken run, none twice, none dropped.
TEST_F(BatchLoaderTest, ResumesAtAnyIndex) {
  make_store(400);
  const TokenStore store = TokenStore::open(path);
  const Batch want = BatchLoader(store, options(3)).load(0, 210);
  Batch got;
  for (int64_t next = 0, restart = 1; restart <= 20; ++restart) {
    const TokenStore reopened = TokenStore::open(path);
    append(got, BatchLoader(reopened, options(3)).load(next, restart));
    next += restart;
  }
  EXPECT_EQ(got.tokens, want.tokens);
  EXPECT_EQ(got.starts, want.starts);
}

TEST_F(BatchLoaderTest, SizesZeroAndOne) {
  const TokenStore store = make_store(2);
  const BatchLoader loader(store, {.seq_len = 1, .history = 0, .seed = 0, .order = SampleOrder::kShuffled});
  EXPECT_EQ(loader.num_windows(), 1);
  EXPECT_EQ(loader.load(1234567890, 1).tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(loader.load(5, 0).tokens.empty());
  // History longer than the store.
  const BatchLoader long_history(store, {.seq_len = 1, .history = 4, .seed = 0, .order = SampleOrder::kShuffled});
  EXPECT_EQ(long_history.load(0, 1).tokens, (std::vector<int32_t>{0, 0, 0, 0, 1, 2}));
  EXPECT_EQ(long_history.load(0, 1).starts, (std::vector<uint8_t>{0, 0, 0, 0, 1, 0}));
}

TEST_F(BatchLoaderTest, RefusesWhatDoesNotFit) {
  const TokenStore store = make_store(kSeqLen);
  EXPECT_NE(error_of([&] { BatchLoader(store, options()); }).find("holds 8 tokens, wanted at least seq_len + 1 = 9"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { BatchLoader(store, {.seq_len = 0, .history = 0, .seed = 0, .order = {}}); }).find("seq_len 0"),
      std::string::npos);
  const BatchLoader loader(store, {.seq_len = 2, .history = 0, .seed = 0, .order = {}});
  EXPECT_NE(error_of([&] { loader.load(-1, 1); }).find("sample -1"), std::string::npos);
  EXPECT_NE(error_of([&] { loader.load(INT64_MAX - 1, 1); }).find("is beyond the last one"), std::string::npos);
}

struct BlendedLoaderTest : BatchLoaderTest {
  const TokenStore small = make_store(100);  // all three have their own tokens in common, but not their sizes
  const TokenStore middle = make_store(400);
  const TokenStore large = make_store(3000);
  const std::vector<WeightedStore> stores{{&small, 0.2}, {&middle, 0.5}, {&large, 0.3}};
  const BatchLoader loader{stores, options()};
};

TEST_F(BlendedLoaderTest, StoresKeepTheirSharesAndTheirOwnOrder) {
  EXPECT_EQ(loader.num_windows(), 99 / kSeqLen + 399 / kSeqLen + 2999 / kSeqLen);
  std::vector<int64_t> counts(3);
  for (int64_t sample = 0; sample < 3000; ++sample) {
    const int64_t store = loader.store_of(sample);
    const BatchLoader alone(*stores[static_cast<size_t>(store)].store, options());
    EXPECT_EQ(loader.window_of(sample), alone.window_of(counts[static_cast<size_t>(store)]++));
    const Batch row = loader.load(sample, 1);
    EXPECT_EQ(row.tokens[kHistory], loader.window_of(sample) * kSeqLen + 1);
  }
  EXPECT_NEAR(static_cast<double>(counts[0]), 600, 1);
  EXPECT_NEAR(static_cast<double>(counts[1]), 1500, 1);
  EXPECT_NEAR(static_cast<double>(counts[2]), 900, 1);
}

TEST_F(BlendedLoaderTest, AnyNumberOfRanksReadsTheSameSamples) {
  constexpr int64_t kNumSamples = 240;
  const Batch whole = loader.load(0, kNumSamples);
  for (const int64_t num_parts : {2, 3, 8}) {
    Batch parts;
    for (int64_t part = 0; part < num_parts; ++part) {
      append(parts, loader.load(part * kNumSamples / num_parts, kNumSamples / num_parts));
    }
    EXPECT_EQ(parts.tokens, whole.tokens);
    EXPECT_EQ(parts.starts, whole.starts);
  }
}

TEST_F(BlendedLoaderTest, OneStoreOfAnyWeightIsThatStore) {
  const BatchLoader alone(middle, options()), weighted(std::vector<WeightedStore>{{&middle, 7}}, options());
  for (int64_t sample : {int64_t{0}, int64_t{1}, int64_t{65535}, int64_t{65536}, int64_t{200000}}) {
    EXPECT_EQ(alone.window_of(sample), weighted.window_of(sample));
  }
}

}  // namespace
}  // namespace engram
