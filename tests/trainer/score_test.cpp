#include "trainer/score.h"

#include <algorithm>

#include "tests/trainer/tiny_run.h"
#include "trainer/forward.h"

namespace engram {
namespace {

using test::tiny_run;
using test::TinyReplica;

constexpr int32_t kEndOfText = 7;

// Sequences of made-up text of many lengths, some longer than the model sees, the first of each a document's start.
std::vector<ScoredTokens> made_up_sequences(const RunConfig& config) {
  std::vector<ScoredTokens> sequences;
  for (int64_t length = 2; length < 2 * config.data.seq_len; ++length) {
    std::vector<int32_t> text = test::made_up_batch(config, 500 + length, 1, length).tokens;
    text.resize(static_cast<size_t>(length));
    text[0] = kEndOfText;
    sequences.push_back({.tokens = text, .num_scored = 1 + (length - 2) % std::min<int64_t>(config.data.seq_len, 4)});
    sequences.back().num_scored = std::min(sequences.back().num_scored, length - 1);
  }
  return sequences;
}

// The same by one forward pass of one sequence without padding, and sums as they stand in the formulas.
SequenceScore reference_score(Replica& r, const ScoredTokens& sequence) {
  const auto num_tokens = static_cast<int64_t>(sequence.tokens.size());
  const int64_t seq_len = std::min(r.config.data.seq_len, num_tokens - 1);
  Batch batch{.num_samples = 1, .history = r.history(), .seq_len = seq_len, .tokens = {}, .starts = {}};
  for (int64_t at = num_tokens - 1 - seq_len - batch.history; at < num_tokens; ++at) {
    batch.tokens.push_back(at >= 0 ? sequence.tokens[static_cast<size_t>(at)] : 3);  // 3: must not count
    const bool is_behind_end = at > 0 && sequence.tokens[static_cast<size_t>(at - 1)] == kEndOfText;
    batch.starts.push_back(at == 0 || is_behind_end ? 1 : 0);
  }
  Arena::Scope scope(r.arena);
  BatchMemory memory;
  LanguageModel::Saved saved;
  const Tensor hidden = forward_batch(r, memory.upload(r.stream, batch, r.config.model.engram), saved);
  Context ctx = r.context(1, batch.seq_len);
  const Tensor logits = r.model.logits(ctx, hidden);
  SequenceScore score;
  for (int64_t i = num_tokens - sequence.num_scored; i < num_tokens; ++i) {
    const auto row = host_span<double>(logits.rows(seq_len - num_tokens + i, 1));
    const double own = row[static_cast<size_t>(sequence.tokens[static_cast<size_t>(i)])];
    double sum = 0;
    for (const double logit : row) sum += std::exp(logit);
    score.nats += std::log(sum) - own;
    const int64_t rank = 1 + std::count_if(row.begin(), row.end(), [&](double logit) { return logit > own; });
    score.worst_rank = std::max(score.worst_rank, rank);
  }
  return score;
}

void expect_reference_scores(const RunConfig& config) {
  run_ranks(1, [&](Communicator& world) {
    TinyReplica tiny(config, world, DType::kFloat64);
    for (int i = 0; i < 5; ++i) test::made_up_step(tiny.replica);
    const std::vector<ScoredTokens> sequences = made_up_sequences(config);
    const auto before = test::bits_of(tiny.replica);
    const std::vector<SequenceScore> scores = score(tiny.replica, sequences, kEndOfText);
    EXPECT_EQ(test::bits_of(tiny.replica), before);
    ASSERT_EQ(scores.size(), sequences.size());
    for (size_t i = 0; i < sequences.size(); ++i) {
      const SequenceScore want = reference_score(tiny.replica, sequences[i]);
      EXPECT_NEAR(scores[i].nats, want.nats, 1e-11) << sequences[i].tokens.size() << " tokens";
      EXPECT_EQ(scores[i].worst_rank, want.worst_rank) << sequences[i].tokens.size() << " tokens";
    }
  });
}

RunConfig tiny_evaluation() {
  RunConfig config = tiny_run();
  config.train.micro_batch = 3;
  config.train.global_batch = 12;
  config.model.engram.pad_token = 9;  // not what stands in the columns before a sequence
  return config;
}

TEST(Score, IsWhatOneSequenceAloneGives) {
  RunConfig config = tiny_evaluation();
  expect_reference_scores(config);
  config.train.logits_chunk = 2;
  expect_reference_scores(config);
  config.model.engram.boundary = NgramBoundary::kSequence;
  expect_reference_scores(config);
  config.model.engram.orders = {2, 3, 4, 5};
  config.model.engram.memory_dim = 24;
  config.model.engram.conv = true;
  expect_reference_scores(config);
  config.model.engram.layers = {};
  expect_reference_scores(config);
}

TEST(Score, SeesNothingOfAnotherSequence) {
  run_ranks(1, [](Communicator& world) {
    const RunConfig config = tiny_evaluation();
    TinyReplica tiny(config, world, DType::kFloat32);
    std::vector<ScoredTokens> sequences = made_up_sequences(config);
    const std::vector<SequenceScore> before = score(tiny.replica, sequences, kEndOfText);
    for (size_t i = 0; i < sequences.size(); i += 2) {
      for (int32_t& token : sequences[i].tokens) token = (token + 11) % static_cast<int32_t>(config.model.vocab_size);
    }
    const std::vector<SequenceScore> after = score(tiny.replica, sequences, kEndOfText);
    for (size_t i = 0; i < sequences.size(); ++i) EXPECT_EQ(before[i].nats == after[i].nats, i % 2 == 1) << i;
  });
}

TEST(Score, GivesTheSameBitsOnAnyNumberOfRanks) {
  std::vector<SequenceScore> one;
  for (const int num_ranks : {1, 2, 4}) {
    run_ranks(num_ranks, [&](Communicator& world) {
      TinyReplica tiny(tiny_evaluation(), world, DType::kFloat32);
      const std::vector<SequenceScore> scores = score(tiny.replica, made_up_sequences(tiny.replica.config), kEndOfText);
      if (num_ranks == 1) one = scores;
      ASSERT_EQ(scores.size(), one.size());
      for (size_t i = 0; i < one.size(); ++i) {
        EXPECT_EQ(scores[i].nats, one[i].nats) << i << " of " << num_ranks << " ranks";
        EXPECT_EQ(scores[i].worst_rank, one[i].worst_rank);
      }
    });
  }
}

TEST(Score, RefusesAModelThatIsNotANumber) {
  run_ranks(2, [](Communicator& world) {
    TinyReplica tiny(tiny_evaluation(), world, DType::kFloat32);
    host_span<float>(tiny.replica.store.parameters()[0].value.rows(5, 1))[0] = NAN;  // embedding of token 5
    const ScoredTokens sequence{.tokens = {kEndOfText, 5, 2}, .num_scored = 1};
    const std::string message = test::error_of([&] { score(tiny.replica, std::span(&sequence, 1), kEndOfText); });
    EXPECT_NE(message.find("a logit is not a number"), std::string::npos) << message;
  });
}

}  // namespace
}  // namespace engram
