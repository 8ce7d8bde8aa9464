#include "data/build_store.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

#include "data/atomic_file.h"
#include "data/keyed_permutation.h"
#include "data/token_store.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

// Documents one after the other, each with its end-of-document id.
struct EncodedDocuments {
  std::vector<int32_t> tokens;
  std::vector<int64_t> offsets{0};

  int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }
  std::span<const int32_t> document(int64_t i) const {
    const auto first = static_cast<size_t>(offsets[static_cast<size_t>(i)]);
    return std::span(tokens).subspan(first, static_cast<size_t>(offsets[static_cast<size_t>(i) + 1]) - first);
  }
};

void check_options(const BuildOptions& options, const StoreEncoder& encoder) {
  ENGRAM_CHECK(!options.output.empty(), "data build: no output file is named");
  ENGRAM_CHECK(options.holdout_fraction >= 0 && options.holdout_fraction < 1, "data build: holdout fraction ",
               options.holdout_fraction, "; wanted at least 0 and below 1");
  ENGRAM_CHECK((options.holdout_fraction > 0) == !options.holdout_output.empty(), "data build: holdout fraction ",
               options.holdout_fraction, " and holdout file \"", options.holdout_output, "\"; wanted both or neither");
  ENGRAM_CHECK(options.output != options.holdout_output, options.output, ": is named for both stores");
  ENGRAM_CHECK(encoder.encode && encoder.eos_id >= 0 && encoder.eos_id < encoder.vocab_size,
               "data build: end-of-document id ", encoder.eos_id, " is outside the vocabulary of ", encoder.vocab_size);
}

TextSourceReport encode_all(const BuildOptions& options, const StoreEncoder& encoder, EncodedDocuments& encoded) {
  constexpr int64_t kProgressInterval = 64;
  int64_t num_bytes = 0;
  return for_each_document(expand_inputs(options.inputs), options.text, [&](std::string_view text) {
    const std::vector<int32_t> ids = encoder.encode(text);
    encoded.tokens.insert(encoded.tokens.end(), ids.begin(), ids.end());
    encoded.tokens.push_back(static_cast<int32_t>(encoder.eos_id));
    encoded.offsets.push_back(static_cast<int64_t>(encoded.tokens.size()));
    num_bytes += static_cast<int64_t>(text.size());
    if (options.progress && encoded.size() % kProgressInterval == 0) options.progress(encoded.size(), num_bytes);
  });
}

int64_t count_holdout(const BuildOptions& options, int64_t num_documents) {
  if (options.holdout_fraction == 0) return 0;
  const auto share = std::llround(options.holdout_fraction * static_cast<double>(num_documents));
  const int64_t num_holdout = std::max<int64_t>(1, share);
  ENGRAM_CHECK(num_holdout < num_documents, "data build: holding out ", num_holdout, " of ", num_documents,
               " documents leaves none to train on; separate the documents of a .txt file by lines \"",
               options.text.separator, "\"");
  return num_holdout;
}

// Documents [first, first + count) of the shuffled order.
StoreSummary write_store(const std::string& path, const EncodedDocuments& encoded, const StoreEncoder& encoder,
                         std::span<const int64_t> documents) {
  TokenStoreHeader header{.tokenizer_digest = encoder.tokenizer_digest,
                          .vocab_size = encoder.vocab_size,
                          .eos_id = encoder.eos_id,
                          .num_tokens = 0,
                          .num_documents = static_cast<int64_t>(documents.size())};
  for (const int64_t document : documents) {
    header.num_tokens += static_cast<int64_t>(encoded.document(document).size());
  }
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent);
  constexpr int64_t kOverhead = int64_t{4} << 20;
  check_free_space(parent.empty() ? "." : parent.string(),
                   4 * header.num_tokens + 8 * header.num_documents + kOverhead);

  TokenStoreWriter writer(path, header);
  for (const int64_t document : documents) writer.append(encoded.document(document));
  return {
      .path = path, .digest = writer.finish(), .num_documents = header.num_documents, .num_tokens = header.num_tokens};
}

}  // namespace

BuildSummary build_token_store(const BuildOptions& options, const StoreEncoder& encoder) {
  check_options(options, encoder);
  EncodedDocuments encoded;
  BuildSummary summary;
  summary.text = encode_all(options, encoder, encoded);
  const int64_t num_documents = encoded.size();
  ENGRAM_CHECK(num_documents > 0, "data build: ", summary.text.num_files, " files hold no document (",
               summary.text.num_empty, " empty, ", summary.text.num_bad_records, " bad)");

  std::vector<int64_t> order(static_cast<size_t>(num_documents));
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<int64_t>(keyed_permutation(options.seed, kDocumentStream, i, order.size()));
  }
  const std::span<const int64_t> all(order);
  const auto num_train = static_cast<size_t>(num_documents - count_holdout(options, num_documents));
  if (num_train < all.size()) {
    summary.holdout = write_store(options.holdout_output, encoded, encoder, all.subspan(num_train));
  }
  summary.train = write_store(options.output, encoded, encoder, all.first(num_train));
  return summary;
}

}  // namespace engram
