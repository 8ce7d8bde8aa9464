#include "trainer/score.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/device.h"
#include "kernels/row_gather.h"
#include "kernels/softmax_xent.h"
#include "kernels/target_rank.h"
#include "trainer/forward.h"
#include "trainer/requests.h"

namespace engram {
namespace {

// Tokens of a sequence that the model computes.
int64_t num_inputs(const ScoredTokens& sequence, int64_t seq_len) {
  return std::min(seq_len, static_cast<int64_t>(sequence.tokens.size()) - 1);
}

// Numbers of the sequences of each batch, the longest first.
std::vector<std::vector<size_t>> batches_of(std::span<const ScoredTokens> sequences, const RunConfig& config) {
  const int64_t seq_len = config.data.seq_len, most_tokens = config.train.micro_batch * seq_len;
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return num_inputs(sequences[a], seq_len) > num_inputs(sequences[b], seq_len);
  });
  std::vector<std::vector<size_t>> batches;
  size_t capacity = 0;
  for (const size_t i : order) {
    if (batches.empty() || batches.back().size() == capacity) {
      capacity = static_cast<size_t>(most_tokens / num_inputs(sequences[i], seq_len));
      batches.emplace_back();
    }
    batches.back().push_back(i);
  }
  return batches;
}

// Sequences side by side, padded at the end to the longest, and which of their tokens are scored.
struct PaddedBatch {
  Batch batch;
  std::vector<int64_t> rows;     // places of the scored tokens' inputs among num_samples * seq_len
  std::vector<int32_t> targets;  // the scored tokens
};

void append(const ScoredTokens& sequence, int64_t inputs, int32_t end_of_text, PaddedBatch& padded) {
  const int64_t before = std::ssize(sequence.tokens) - 1 - inputs;  // tokens that the model does not compute
  for (int64_t i = inputs - sequence.num_scored; i < inputs; ++i) {
    padded.rows.push_back(padded.batch.num_samples * padded.batch.seq_len + i);
    padded.targets.push_back(sequence.tokens[static_cast<size_t>(before + 1 + i)]);
  }
  append_sequence(sequence.tokens, before - padded.batch.history, end_of_text, padded.batch);
}

PaddedBatch padded_batch(std::span<const ScoredTokens> sequences, const std::vector<size_t>& numbers, const Replica& r,
                         int32_t end_of_text) {
  const int64_t seq_len = r.config.data.seq_len;
  PaddedBatch padded;
  padded.batch.history = r.history();
  padded.batch.seq_len = num_inputs(sequences[numbers[0]], seq_len);
  for (const size_t i : numbers) append(sequences[i], num_inputs(sequences[i], seq_len), end_of_text, padded);
  return padded;
}

// -log p and rank of each scored token.
struct TokenScores {
  std::vector<double> nats;
  std::vector<int64_t> ranks;
};

// `values` in the arena, on the device of the stream.
template <class T>
Tensor on_device(Replica& r, std::vector<T>& values) {
  const auto count = static_cast<int64_t>(values.size());
  const Tensor target = r.arena.take("score.input", dtype_of<T>, {count});
  copy(r.stream, Tensor(values.data(), dtype_of<T>, {count}), target);
  return target;
}

// Both of the tokens whose hidden states are given, in parts of logits_chunk; the stream is synchronized then.
template <class Loss>
TokenScores score_hidden(Replica& r, Context& ctx, const Tensor& hidden, const Tensor& targets) {
  const int64_t count = hidden.size(0);
  const Tensor losses = r.arena.take("score.losses", dtype_of<Loss>, {count});
  const Tensor ranks = r.arena.take("score.ranks", DType::kInt64, {count});
  for (int64_t begin = 0; begin < count; begin += r.config.train.logits_chunk) {
    Arena::Scope scope(r.arena);
    const int64_t part = std::min(r.config.train.logits_chunk, count - begin);
    const Tensor logits = r.model.logits(ctx, hidden.rows(begin, part));
    softmax_xent(r.stream, logits, targets.rows(begin, part), 1.0, losses.rows(begin, part), {});
    target_rank(r.stream, logits, targets.rows(begin, part), ranks.rows(begin, part));
  }
  std::vector<Loss> host_losses(static_cast<size_t>(count));
  TokenScores scores{.nats = {}, .ranks = std::vector<int64_t>(static_cast<size_t>(count))};
  copy(r.stream, losses, Tensor(host_losses.data(), losses.dtype, {count}));
  copy(r.stream, ranks, Tensor(scores.ranks.data(), DType::kInt64, {count}));
  synchronize(r.stream);
  scores.nats.assign(host_losses.begin(), host_losses.end());
  return scores;
}

TokenScores score_batch(Replica& r, BatchMemory& memory, PaddedBatch& padded) {
  Arena::Scope scope(r.arena);
  const StepBatch batch = memory.upload(r.stream, padded.batch, r.config.model.engram);
  LanguageModel::Saved saved;
  const Tensor all = forward_batch(r, batch, saved);
  const Tensor rows = on_device(r, padded.rows), targets = on_device(r, padded.targets);
  const Tensor hidden = r.arena.take("score.hidden", all.dtype, {rows.numel(), all.size(1)});
  row_gather(r.stream, all, rows, hidden);
  Context ctx = r.context(batch.num_sequences, batch.seq_len);
  return accumulator(all.dtype) == DType::kFloat64 ? score_hidden<double>(r, ctx, hidden, targets)
                                                   : score_hidden<float>(r, ctx, hidden, targets);
}

}  // namespace

std::vector<SequenceScore> score(Replica& r, std::span<const ScoredTokens> sequences, int32_t end_of_text) {
  const std::vector<std::vector<size_t>> batches = batches_of(sequences, r.config);
  std::vector<double> nats(sequences.size());
  std::vector<int64_t> ranks(sequences.size());
  BatchMemory memory;
  const auto num_ranks = static_cast<size_t>(r.world.size());
  for (size_t round = 0; round < batches.size(); round += num_ranks) {
    Requests(r.world).leave_if_asked();
    // A rank that has no batch left computes the last one again: the fetch of a round is collective.
    const size_t mine = round + static_cast<size_t>(r.world.rank());
    const std::vector<size_t>& batch = batches[std::min(mine, batches.size() - 1)];
    PaddedBatch padded = padded_batch(sequences, batch, r, end_of_text);
    const TokenScores scores = score_batch(r, memory, padded);
    if (mine >= batches.size()) continue;
    size_t token = 0;
    for (const size_t i : batch) {
      for (const size_t end = token + static_cast<size_t>(sequences[i].num_scored); token < end; ++token) {
        nats[i] += scores.nats[token];
        ranks[i] = std::max(ranks[i], scores.ranks[token]);
      }
    }
  }
  all_reduce_sum<double>(r.world, nats);  // one rank has a sequence's value, the others 0
  all_reduce_sum<int64_t>(r.world, ranks);
  std::vector<SequenceScore> scores;
  for (size_t i = 0; i < sequences.size(); ++i) {
    ENGRAM_CHECK(!std::isnan(nats[i]), "evaluation: a logit is not a number; the checkpoint's weights are not usable");
    scores.push_back({.nats = nats[i], .worst_rank = ranks[i]});
  }
  return scores;
}

}  // namespace engram
