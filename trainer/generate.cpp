#include "trainer/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/convert.h"
#include "kernels/core/device.h"
#include "kernels/core/rng.h"
#include "trainer/forward.h"

namespace engram {
namespace {

// The last tokens as a batch of one sequence: as many as the model sees, with their look-back.
Batch window_of(const std::vector<int32_t>& tokens, int64_t seq_len, int64_t history, int32_t end_of_text) {
  Batch batch;
  batch.history = history;
  batch.seq_len = std::min(seq_len, std::ssize(tokens));
  append_sequence(tokens, std::ssize(tokens) - batch.seq_len - history, end_of_text, batch);
  return batch;
}

}  // namespace

std::vector<float> next_logits(Replica& r, const std::vector<int32_t>& tokens, int32_t end_of_text) {
  Arena::Scope scope(r.arena);
  BatchMemory memory;
  LanguageModel::Saved saved;
  const Batch window = window_of(tokens, r.config.data.seq_len, r.history(), end_of_text);
  const StepBatch batch = memory.upload(r.stream, window, r.config.model.engram);
  const Tensor hidden = forward_batch(r, batch, saved);
  Context ctx = r.context(1, batch.seq_len);
  Tensor logits = r.model.logits(ctx, hidden.rows(batch.seq_len - 1, 1));
  if (logits.dtype == DType::kBFloat16) {
    const Tensor wide = r.arena.take("logits.float32", DType::kFloat32, {1, logits.numel()});
    convert(r.stream, logits, wide);
    logits = wide;
  }
  std::vector<float> values(static_cast<size_t>(logits.numel()));
  copy(r.stream, logits, Tensor(values.data(), DType::kFloat32, {1, logits.numel()}));
  synchronize(r.stream);
  return values;
}

int32_t sample_token(const std::vector<float>& logits, const SamplingOptions& options, double random) {
  const bool has_nan = std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); });
  ENGRAM_CHECK(!has_nan, "generate: a logit is not a number; the checkpoint's weights are not usable");
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (options.temperature == 0) return order[0];

  const double top = double{logits[static_cast<size_t>(order[0])]};
  std::vector<double> weights;
  for (const int32_t token : order) {
    weights.push_back(std::exp((double{logits[static_cast<size_t>(token)]} - top) / options.temperature));
  }
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t num_kept = 0;
  double kept = 0;
  while (num_kept < weights.size() && (num_kept == 0 || kept < options.top_p * all)) kept += weights[num_kept++];

  double left = random * kept;
  for (size_t i = 0; i < num_kept; ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[num_kept - 1];  // rounding
}

void generate(Replica& replica, std::vector<int32_t> prompt, const SamplingOptions& options, int32_t end_of_text,
              const std::function<void(int32_t)>& emit) {
  ENGRAM_CHECK(!prompt.empty(), "generate: the prompt has no token; give at least one character");
  for (int64_t i = 0; i < options.num_tokens; ++i) {
    const Random128 random =
        philox(options.seed, static_cast<uint64_t>(i), uint64_t{static_cast<uint32_t>(RandomDomain::kSampling)} << 32);
    std::vector<float> logits = next_logits(replica, prompt, end_of_text);
    if (options.num_ids > 0) logits.resize(static_cast<size_t>(options.num_ids));
    const int32_t token = sample_token(logits, options, double{uniform(random.word[0])});
    if (token == end_of_text) return;
    emit(token);
    prompt.push_back(token);
  }
}

}  // namespace engram
