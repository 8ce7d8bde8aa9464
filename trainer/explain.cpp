#include "trainer/explain.h"

#include "kernels/core/device.h"
#include "kernels/ngram_hash.h"
#include "model/memory_addresses.h"
#include "trainer/forward.h"

namespace engram {
namespace {

template <class T>
Tensor tensor_on(std::vector<T>& values, std::initializer_list<int64_t> shape) {
  return Tensor(values.data(), dtype_of<T>, shape);
}

std::vector<uint8_t> segment_starts(const std::vector<int32_t>& tokens, const BpeTokenizer& tokenizer,
                                    NgramBoundary boundary) {
  std::vector<uint8_t> starts(tokens.size(), 0);
  starts[0] = 1;
  for (size_t i = 1; i < tokens.size(); ++i) {
    starts[i] = boundary == NgramBoundary::kDocument && tokenizer.end_of_text() == tokens[i - 1] ? 1 : 0;
  }
  return starts;
}

}  // namespace

Explanation explain(std::vector<int32_t> tokens, const RunTokenizer& tokenizer, const EngramConfig& config) {
  ENGRAM_CHECK(!tokens.empty(), "explain: the text has no token; give at least one character");
  ENGRAM_CHECK(config.enabled(), "explain: model.engram.layers is empty; wanted a model with memory");
  const std::string control = unpublished_part(config);
  ENGRAM_CHECK(control.empty(), "explain: the model has model.engram.", control);
  Explanation result{.tokens = std::move(tokens),
                     .starts = {},
                     .keys = {},
                     .layout = make_ngram_layout(config, tokenizer.vocabulary.num_keys()),
                     .rows = {},
                     .gates = {}};
  result.starts = segment_starts(result.tokens, tokenizer.tokenizer, config.boundary);
  for (const int32_t token : result.tokens) result.keys.push_back(tokenizer.vocabulary.key_of(token));

  Stream stream = CpuQueue{};
  const auto num_tokens = static_cast<int64_t>(result.tokens.size());
  const int64_t num_columns = result.layout.num_columns();
  for (const NgramLayer& layer : result.layout.layers) {
    std::vector<int64_t>& rows = result.rows.emplace_back(static_cast<size_t>(num_tokens * num_columns));
    ngram_hash(stream, tensor_on(result.keys, {1, num_tokens}), tensor_on(result.starts, {1, num_tokens}),
               /*history=*/0, host_constants(layer, config.heads, tokenizer.vocabulary.key_of(config.pad_token)),
               tensor_on(rows, {num_tokens, num_columns}));
  }
  return result;
}

std::vector<std::vector<double>> engram_gates(Replica& r, const Explanation& explanation) {
  const auto num_tokens = static_cast<int64_t>(explanation.tokens.size());
  ENGRAM_CHECK(num_tokens <= r.config.data.seq_len, "explain: the text has ", num_tokens, " tokens, the model sees ",
               r.config.data.seq_len, " (data.seq_len); give a shorter text");
  Batch batch;
  batch.num_samples = 1;
  batch.history = r.history();
  batch.seq_len = num_tokens;
  batch.tokens.assign(static_cast<size_t>(batch.row_length()), 0);
  batch.starts.assign(static_cast<size_t>(batch.row_length()), 0);
  std::copy(explanation.tokens.begin(), explanation.tokens.end(), batch.tokens.begin() + batch.history);
  std::copy(explanation.starts.begin(), explanation.starts.end(), batch.starts.begin() + batch.history);

  Arena::Scope scope(r.arena);
  BatchMemory memory;
  LanguageModel::Saved saved;
  forward_batch(r, memory.upload(r.stream, batch, r.config.model.engram), saved);
  std::vector<std::vector<double>> gates;
  for (const int64_t layer : r.config.model.engram.layers) {
    const Tensor& alpha = saved.blocks[static_cast<size_t>(layer)].engram.gate.alpha;
    std::vector<float> values(static_cast<size_t>(alpha.numel()));
    copy(r.stream, alpha, tensor_on(values, {alpha.size(0), alpha.size(1)}));
    synchronize(r.stream);
    const auto num_streams = static_cast<size_t>(alpha.size(1));
    std::vector<double>& means = gates.emplace_back(explanation.tokens.size(), 0.0);
    for (size_t i = 0; i < values.size(); ++i) {
      means[i / num_streams] += double{values[i]} / static_cast<double>(num_streams);
    }
  }
  return gates;
}

}  // namespace engram
