#include "trainer/ngram_statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/memory_addresses.h"
#include "trainer/step_batch.h"

namespace engram {
namespace {

// A modulus so large (2^61 - 1) that what is left of a hash tells n-grams apart.
constexpr int64_t kIdentity = (int64_t{1} << 61) - 1;

// Rows of all heads of a layer, [num_tokens, num_columns].
std::vector<int64_t> hash(const StepBatch& batch, const Tensor& keys, const NgramLayer& layer, int64_t heads,
                          int32_t pad_id) {
  const int64_t num_tokens = batch.num_sequences * batch.seq_len, num_columns = std::ssize(layer.primes);
  std::vector<int64_t> rows(static_cast<size_t>(num_tokens * num_columns));
  Stream stream = CpuQueue{};
  ngram_hash(stream, keys, batch.hash_starts, batch.hash_tokens.size(1) - batch.seq_len,
             host_constants(layer, heads, pad_id), Tensor(rows.data(), DType::kInt64, {num_tokens, num_columns}));
  return rows;
}

// The token at which each distinct value of a column stands first.
std::vector<int64_t> first_tokens(const std::vector<int64_t>& values, int64_t column, int64_t num_columns) {
  std::vector<std::pair<int64_t, int64_t>> found;
  for (int64_t token = 0; token * num_columns < std::ssize(values); ++token) {
    found.emplace_back(values[static_cast<size_t>(token * num_columns + column)], token);
  }
  std::ranges::sort(found);
  const auto same_value = [](const auto& a, const auto& b) { return a.first == b.first; };
  found.erase(std::unique(found.begin(), found.end(), same_value), found.end());
  std::vector<int64_t> tokens;
  for (const auto& [value, token] : found) tokens.push_back(token);
  return tokens;
}

// For each order from 2 on, one token for each distinct n-gram that ends there.
std::vector<std::vector<int64_t>> distinct_ngrams(const StepBatch& batch, const Tensor& keys, NgramLayer layer,
                                                  int64_t num_orders, int32_t pad_id) {
  layer.primes.assign(static_cast<size_t>(num_orders), kIdentity);
  layer.offsets.assign(static_cast<size_t>(num_orders), 0);
  const std::vector<int64_t> identities = hash(batch, keys, layer, 1, pad_id);
  std::vector<std::vector<int64_t>> tokens;
  for (int64_t i = 0; i < num_orders; ++i) tokens.push_back(first_tokens(identities, i, num_orders));
  return tokens;
}

// Counts the rows of distinct n-grams, which end at `tokens`, in one column.
void count_rows(const std::vector<int64_t>& rows, int64_t column, int64_t num_columns,
                const std::vector<int64_t>& tokens, NgramStatistics::Head& head) {
  std::vector<int64_t> own;
  for (const int64_t token : tokens) own.push_back(rows[static_cast<size_t>(token * num_columns + column)]);
  std::ranges::sort(own);
  for (auto begin = own.begin(); begin != own.end();) {
    const auto end = std::upper_bound(begin, own.end(), *begin);
    ++head.num_touched;
    if (end - begin > 1) head.num_sharing += end - begin;
    begin = end;
  }
}

double share(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

// Of the rows, those that some of `count` even draws fall on.
double even_touched(int64_t count, int64_t num_rows) {
  return -std::expm1(static_cast<double>(count) * std::log1p(-1 / static_cast<double>(num_rows)));
}

}  // namespace

double NgramStatistics::sharing(const Head& head) const { return share(head.num_sharing, num_distinct_of(head)); }

double NgramStatistics::sharing_if_even(const Head& head) const {
  return even_touched(num_distinct_of(head) - 1, head.num_rows);
}

bool has_ngrams(const EngramConfig& config) { return config.enabled() && config.addressing == Addressing::kHash; }

NgramStatistics ngram_statistics(const Batch& batch, const EngramConfig& config, const RunTokenizer& tokenizer) {
  ENGRAM_CHECK(config.enabled(), "n-grams: model.engram.layers is empty; wanted a model with memory");
  ENGRAM_CHECK(has_ngrams(config), "n-grams: the model has model.engram.addressing ", enum_name(config.addressing),
               ", wanted hash");
  const CompressedVocabulary& vocabulary = tokenizer.vocabulary;
  const auto key_of = [&](int64_t token) {
    return config.compression ? vocabulary.key_of(token) : static_cast<int32_t>(token);
  };
  Stream stream = CpuQueue{};
  BatchMemory memory;
  const StepBatch uploaded = memory.upload(stream, batch, config);
  const Tensor keys = uploaded.hash_tokens;
  for (int32_t& token : host_span<int32_t>(keys)) token = key_of(token);
  const int32_t pad_id = key_of(config.pad_token);
  const NgramLayout layout =
      make_ngram_layout(config, config.compression ? vocabulary.num_keys() : vocabulary.vocabulary_size());

  NgramStatistics result{.num_tokens = batch.num_samples * batch.seq_len, .num_distinct = {}, .heads = {}};
  const int64_t num_columns = layout.num_columns();
  const auto ngrams = distinct_ngrams(uploaded, keys, layout.layers[0], layout.max_order - 1, pad_id);
  for (const auto& tokens : ngrams) result.num_distinct.push_back(std::ssize(tokens));
  for (const NgramLayer& layer : layout.layers) {
    const std::vector<int64_t> rows = hash(uploaded, keys, layer, layout.heads, pad_id);
    for (int64_t column = 0; column < num_columns; ++column) {
      const int64_t order = column / layout.heads;
      NgramStatistics::Head head{.layer = layer.layer,
                                 .order = order + 2,
                                 .head = column % layout.heads,
                                 .num_rows = layer.primes[static_cast<size_t>(column)]};
      count_rows(rows, column, num_columns, ngrams[static_cast<size_t>(order)], head);
      result.heads.push_back(head);
    }
  }
  return result;
}

EventFields ngram_fields(const NgramStatistics& s) {
  std::vector<int64_t> orders, layers;
  for (int64_t i = 0; i < std::ssize(s.num_distinct); ++i) orders.push_back(i + 2);
  HeadValues sharing, if_even;
  for (const NgramStatistics::Head& h : s.heads) {
    if (layers.empty() || layers.back() != h.layer) {
      layers.push_back(h.layer);
      for (HeadValues* values : {&sharing, &if_even}) values->emplace_back(orders.size());
    }
    const auto order = static_cast<size_t>(h.order - 2);
    sharing.back()[order].push_back(s.sharing(h));
    if_even.back()[order].push_back(s.sharing_if_even(h));
  }
  return {{"tokens", s.num_tokens},     {"orders", orders},   {"layers", layers},
          {"distinct", s.num_distinct}, {"sharing", sharing}, {"sharing_if_even", if_even}};
}

std::string ngram_statistics_text(const NgramStatistics& s) {
  std::string text = fmt::format("{} tokens\n", s.num_tokens);
  for (size_t i = 0; i < s.num_distinct.size(); ++i) {
    text += fmt::format("order {}: {} distinct n-grams, {:.2f} % of the tokens\n", i + 2, s.num_distinct[i],
                        100 * share(s.num_distinct[i], s.num_tokens));
  }
  text += fmt::format("\n{:>5} {:>5} {:>4} {:>12} {:>12} {:>14} {:>8} {:>19} {:>8}\n", "layer", "order", "head", "rows",
                      "n-grams each", "never touched", "if even", "n-grams that share", "if even");
  for (const NgramStatistics::Head& h : s.heads) {
    const int64_t count = s.num_distinct_of(h);
    text += fmt::format("{:>5} {:>5} {:>4} {:>12} {:>12.3f} {:>12.2f} % {:>6.2f} % {:>17.2f} % {:>6.2f} %\n", h.layer,
                        h.order, h.head, h.num_rows, share(count, h.num_rows),
                        100 * share(h.num_rows - h.num_touched, h.num_rows),
                        100 - 100 * even_touched(count, h.num_rows), 100 * s.sharing(h), 100 * s.sharing_if_even(h));
  }
  return text;
}

}  // namespace engram
