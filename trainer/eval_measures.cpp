#include "trainer/eval_measures.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

namespace engram {
namespace {

using Items = std::span<const ScoredItem>;

double mean_of(Items items, const std::function<double(const ScoredItem&)>& value) {
  double sum = 0;
  for (const ScoredItem& item : items) sum += value(item);
  return sum / static_cast<double>(items.size());
}

// Share of the items for which `is_right` holds; `chance` is an item's own.
EvalMeasure share(const char* name, Items items, const std::function<bool(const ScoredItem&)>& is_right,
                  const std::function<double(const ScoredItem&)>& chance) {
  const int64_t num_right = std::count_if(items.begin(), items.end(), is_right);
  const auto count = static_cast<int64_t>(items.size());
  return {.name = name,
          .value = static_cast<double>(num_right) / static_cast<double>(count),
          .interval = wilson_interval(num_right, count),
          .method = "wilson",
          .chance = mean_of(items, chance)};
}

// shown(sum of -log p / sum of `weight`) over the items' only texts; shown() is increasing.
EvalMeasure ratio(const char* name, Items items, int64_t vocabulary,
                  const std::function<double(const TextScore&)>& weight, const std::function<double(double)>& shown) {
  std::vector<double> nats, weights;
  double num_tokens = 0;
  for (const ScoredItem& item : items) {
    nats.push_back(item.texts[0].nats);
    weights.push_back(weight(item.texts[0]));
    num_tokens += static_cast<double>(item.texts[0].num_tokens);
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const Interval interval = bootstrap_ratio(nats, weights);
  return {.name = name,
          .value = shown(std::accumulate(nats.begin(), nats.end(), 0.0) / total),
          .interval = {shown(interval.low), shown(interval.high)},
          .method = "bootstrap",
          .chance = shown(num_tokens * std::log(static_cast<double>(vocabulary)) / total)};
}

EvalMeasure nats_per_token(Items items, int64_t vocabulary) {
  return ratio(
      "nats_per_token", items, vocabulary, [](const TextScore& text) { return static_cast<double>(text.num_tokens); },
      [](double nats) { return nats; });
}

// All tokens of the item's only text are within that rank.
EvalMeasure within_rank(const char* name, Items items, int64_t vocabulary, int64_t rank) {
  const double of_token = std::min(1.0, static_cast<double>(rank) / static_cast<double>(vocabulary));
  return share(
      name, items, [=](const ScoredItem& item) { return item.texts[0].worst_rank <= rank; },
      [=](const ScoredItem& item) { return std::pow(of_token, static_cast<double>(item.texts[0].num_tokens)); });
}

// The text with the least cost is the answer.
EvalMeasure least(const char* name, Items items, const std::function<double(const TextScore&)>& cost) {
  const auto is_right = [&](const ScoredItem& item) {
    const auto best = std::min_element(item.texts.begin(), item.texts.end(),
                                       [&](const TextScore& a, const TextScore& b) { return cost(a) < cost(b); });
    return best - item.texts.begin() == item.answer;
  };
  return share(name, items, is_right,
               [](const ScoredItem& item) { return 1 / static_cast<double>(item.texts.size()); });
}

}  // namespace

std::vector<EvalMeasure> measures_of(EvalKind kind, Items items, int64_t vocabulary) {
  switch (kind) {
    case EvalKind::kLoss:
      return {nats_per_token(items, vocabulary),
              ratio(
                  "bits_per_byte", items, vocabulary,
                  [](const TextScore& text) { return static_cast<double>(text.num_bytes); },
                  [](double nats) { return nats / std::numbers::ln2; })};
    case EvalKind::kLastWord:
      return {within_rank("accuracy", items, vocabulary, 1),
              ratio(
                  "perplexity", items, vocabulary, [](const TextScore&) { return 1.0; },
                  [](double nats) { return std::exp(nats); })};
    case EvalKind::kChoice:
      return {least("accuracy", items, [](const TextScore& text) { return text.nats; }),
              least("accuracy_norm", items,
                    [](const TextScore& text) { return text.nats / static_cast<double>(text.num_bytes); })};
    case EvalKind::kCloze:
      return {within_rank("p_at_1", items, vocabulary, 1), within_rank("p_at_10", items, vocabulary, 10),
              nats_per_token(items, vocabulary)};
  }
  return {};
}

}  // namespace engram
