#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <iostream>

#include "data/bpe_tokenizer.h"
#include "data/token_store.h"
#include "trainer/commands.h"
#include "trainer/config.h"
#include "trainer/ngram_statistics.h"
#include "trainer/progress.h"
#include "trainer/run_data.h"

namespace engram {
namespace {

std::vector<int64_t> sorted_lengths(const TokenStore& store) {
  const std::span<const uint64_t> offsets = store.doc_offsets();
  std::vector<int64_t> lengths;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) lengths.push_back(static_cast<int64_t>(offsets[i + 1] - offsets[i]));
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

void print_sources(const TokenStoreHeader& header) {
  if (header.sources.empty()) return;
  constexpr size_t kMost = 50;
  std::vector<StoreSource> sources = header.sources;
  std::stable_sort(sources.begin(), sources.end(),
                   [](const StoreSource& a, const StoreSource& b) { return a.num_tokens > b.num_tokens; });
  std::cout << fmt::format("\n{:>8} {:>12} {:>15}  {:<32}  {}\n", "share", "documents", "tokens", "digest of the file",
                           "source");
  for (size_t i = 0; i < std::min(kMost, sources.size()); ++i) {
    const StoreSource& source = sources[i];
    const double share = static_cast<double>(source.num_tokens) / static_cast<double>(header.num_tokens);
    std::cout << fmt::format("{:>7.2f}% {:>12} {:>15}  {:<32}  {}\n", 100 * share, source.num_documents,
                             source.num_tokens, source.digest, source.path);
  }
  if (sources.size() > kMost) std::cout << fmt::format("... and {} more sources\n", sources.size() - kMost);
}

void print_lengths(const std::vector<int64_t>& lengths, int64_t num_tokens) {
  const auto count = lengths.size();
  const auto quantile = [&](double share) {
    return lengths[static_cast<size_t>(share * static_cast<double>(count - 1))];
  };
  std::cout << fmt::format(
      "\ntokens of a document: least {}, 10 % {}, median {}, mean {:.1f}, 90 % {}, 99 % {}, most {}\n", lengths.front(),
      quantile(0.1), quantile(0.5), static_cast<double>(num_tokens) / static_cast<double>(count), quantile(0.9),
      quantile(0.99), lengths.back());
  for (auto begin = lengths.begin(); begin != lengths.end();) {
    const auto low = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(*begin)));
    const auto end = std::lower_bound(begin, lengths.end(), 2 * low);
    const auto share = static_cast<double>(end - begin) / static_cast<double>(count);
    std::cout << fmt::format("{:>10} to {:<10} {:>12}  {}\n", low, 2 * low - 1, end - begin,
                             std::string(static_cast<size_t>(60 * share), '#'));
    begin = end;
  }
}

void print_documents(const TokenStore& store, const BpeTokenizer& tokenizer, int64_t num_shown) {
  constexpr int64_t kMostTokens = 200;  // of a document
  for (int64_t i = 0; i < std::min(num_shown, store.num_documents()); ++i) {
    const auto first = static_cast<int64_t>(store.doc_offsets()[static_cast<size_t>(i)]);
    const auto length = static_cast<int64_t>(store.doc_offsets()[static_cast<size_t>(i) + 1]) - first;
    std::vector<int32_t> tokens(static_cast<size_t>(std::min(length, kMostTokens)));
    std::vector<uint8_t> starts(tokens.size());
    store.read(first, tokens, starts);
    std::cout << fmt::format("\n--- document {}, {} tokens\n{}{}\n", i, length, tokenizer.decode(tokens),
                             length > kMostTokens ? " ..." : "");
  }
}

}  // namespace

void run_data_inspect(const DataInspectCommand& command) {
  const TokenStore store = TokenStore::open(command.store);
  const TokenStoreHeader& header = store.header();
  std::cout << fmt::format(
      "{}: token store, {}B\ndigest     {}\ntokenizer  {}, {} ids, {} ends a document\ndocuments  {}\ntokens     {}\n",
      store.path(), scaled_text(static_cast<double>(std::filesystem::file_size(store.path()))), store.digest(),
      header.tokenizer_digest, header.vocab_size, header.eos_id, header.num_documents, header.num_tokens);
  print_sources(header);
  if (header.num_documents > 0) print_lengths(sorted_lengths(store), header.num_tokens);
  if (command.show == 0) return;
  const BpeTokenizer tokenizer = BpeTokenizer::load(command.tokenizer);
  store.check_tokenizer(tokenizer.digest(), tokenizer.vocabulary_size());
  print_documents(store, tokenizer, command.show);
}

void run_data_verify(const DataVerifyCommand& command) {
  std::string problems;
  for (const std::string& path : command.stores) {
    try {
      const TokenStore store = TokenStore::open(path);
      std::cout << fmt::format("{}: every digest is right; {}, {} documents, {} tokens\n", path, store.digest(),
                               store.num_documents(), store.num_tokens());
    } catch (const Error& error) {
      problems += (problems.empty() ? "" : "\n") + std::string(error.what());
    }
  }
  if (!problems.empty()) throw Error(problems);
}

void run_data_ngrams(const DataNgramsCommand& command) {
  const RunConfig config = load_config(command.config, command.sets);
  const RunTokenizer tokenizer = load_tokenizer(config);
  const TrainingData data(config, tokenizer.tokenizer);
  const BatchLoader loader(data.weighted(), {.seq_len = config.data.seq_len,
                                             .history = config.model.engram.max_order() - 1,
                                             .seed = static_cast<uint64_t>(config.run.seed),
                                             .order = SampleOrder::kShuffled});
  const int64_t num_samples = std::max<int64_t>(command.tokens / config.data.seq_len, 1);
  const Batch batch = loader.load(0, std::min(num_samples, loader.num_windows()));
  std::cout << ngram_statistics_text(ngram_statistics(batch, config.model.engram, tokenizer)) << std::flush;
}

}  // namespace engram
