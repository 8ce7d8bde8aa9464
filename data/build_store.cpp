#include "data/build_store.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>
#include <optional>
#include <utility>

#include "data/atomic_file.h"
#include "data/encoded_block.h"
#include "data/file_lock.h"
#include "data/keyed_permutation.h"
#include "data/token_store.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

// Consecutive documents that are encoded at once.
struct TextBlock {
  std::vector<std::string> texts;
  std::vector<std::string> places;  // "file:line" of each
  int64_t num_bytes = 0;
};

// A build takes the place of nothing but a store, or of an empty file: not of the text that it reads, for one.
void check_replaceable(const std::string& path) {
  const std::filesystem::file_status status = std::filesystem::status(path);
  if (!std::filesystem::exists(status)) return;
  const bool is_file = std::filesystem::is_regular_file(status);
  ENGRAM_CHECK(is_file && (std::filesystem::is_empty(path) || TokenStore::is_store(path)), path,
               is_file ? ": is there and no token store, and would be overwritten" : ": is there and no file",
               "; wanted another name for the store, or that one removed");
}

void check_options(const BuildOptions& options, const StoreEncoder& encoder) {
  ENGRAM_CHECK(!options.output.empty(), "data build: no output file is named");
  ENGRAM_CHECK(options.holdout_fraction >= 0 && options.holdout_fraction < 1, "data build: holdout fraction ",
               options.holdout_fraction, "; wanted at least 0 and below 1");
  ENGRAM_CHECK((options.holdout_fraction > 0) == !options.holdout_output.empty(), "data build: holdout fraction ",
               options.holdout_fraction, " and holdout file \"", options.holdout_output, "\"; wanted both or neither");
  ENGRAM_CHECK(options.output != options.holdout_output, options.output, ": is named for both stores");
  check_replaceable(options.output);
  if (!options.holdout_output.empty()) check_replaceable(options.holdout_output);
  ENGRAM_CHECK(encoder.encode && encoder.eos_id >= 0 && encoder.eos_id < encoder.vocab_size,
               "data build: end-of-document id ", encoder.eos_id, " is outside the vocabulary of ", encoder.vocab_size);
}

std::string directory_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

// Draws documents that are held out, by their text.
class Holdout {
 public:
  explicit Holdout(double fraction) : fraction_(fraction) {}

  void add(std::string_view text) {
    const uint64_t hash = XXH3_64bits(text.data(), text.size());
    if (is_held_.empty() || hash < least_) {
      least_ = hash;
      least_document_ = is_held_.size();
    }
    is_held_.push_back(std::ldexp(static_cast<double>(hash), -64) < fraction_);
  }
  // At least one document is held out where any should be.
  void finish(const std::string& separator) {
    if (fraction_ == 0) return;
    is_held_[least_document_] = true;
    const auto num_held = std::count(is_held_.begin(), is_held_.end(), true);
    ENGRAM_CHECK(num_held < std::ssize(is_held_), "data build: holding out ", num_held, " of ", is_held_.size(),
                 " documents leaves none to train on; separate the documents of a .txt file by lines \"", separator,
                 "\"");
  }
  bool holds(int64_t document) const { return is_held_[static_cast<size_t>(document)]; }

 private:
  double fraction_;
  std::vector<bool> is_held_;
  uint64_t least_ = 0;  // hash, and the first document that has it
  size_t least_document_ = 0;
};

// Where blocks lie until the stores are written, for one process at a time.
class BuildDirectory {
 public:
  explicit BuildDirectory(const std::string& output) : path_(path_of(output)) {
    std::filesystem::create_directories(path_);
    lock_.emplace(path_ + "/lock", /*wait=*/false);
    ENGRAM_CHECK(lock_->held(), path_, ": another process builds ", output, "; wait until it ends");
  }
  // Goes with the last block.
  ~BuildDirectory() {
    std::error_code not_empty;
    std::filesystem::remove(path_ + "/lock", not_empty);
    std::filesystem::remove(path_, not_empty);
  }
  static std::string path_of(const std::string& output) { return output + ".build"; }
  void remove_blocks() const { std::filesystem::remove_all(path_); }

 private:
  std::string path_;
  std::optional<FileLock> lock_;
};

// One call of build_token_store().
class Build {
 public:
  Build(const BuildOptions& options, const StoreEncoder& encoder)
      : options_(options), encoder_(encoder), holdout_(options.holdout_fraction) {}

  BuildSummary run() {
    const BuildDirectory directory(options_.output);
    for (const std::string& store : {options_.output, options_.holdout_output}) remove_temporary_files(store);
    encode_all();
    holdout_.finish(options_.text.separator);
    if (options_.holdout_fraction > 0) summary_.holdout = write_store(options_.holdout_output, true);
    summary_.train = write_store(options_.output, false);
    directory.remove_blocks();
    return std::move(summary_);
  }

 private:
  void encode_all();
  void start_block();
  void finish_block();
  EncodedBlock encoded(const TextBlock& block, const std::string& path);
  std::vector<std::vector<int32_t>> encode(const TextBlock& block) const;
  std::string key_of(const TextBlock& block) const;

  std::span<const int32_t> document(int64_t number) const;
  TokenStoreHeader header_of_store(bool is_held) const;
  StoreSummary write_store(const std::string& path, bool is_held) const;

  int64_t num_documents() const { return first_documents_.back(); }

  const BuildOptions& options_;
  const StoreEncoder& encoder_;
  Holdout holdout_;
  BuildSummary summary_;
  TextBlock block_;        // the one that is being filled
  int64_t num_bytes_ = 0;  // of the text before it
  std::vector<EncodedBlock> blocks_;
  std::vector<int64_t> first_documents_{0};  // of each block, and one past the last
  std::future<EncodedBlock> running_;        // the block before block_; the last member: it uses the others
};

// Each block is encoded while the next one is read.
void Build::encode_all() {
  summary_.text = for_each_document(expand_inputs(options_.inputs), options_.text,
                                    [&](std::string_view text, const TextPlace& place) {
                                      holdout_.add(text);
                                      block_.texts.emplace_back(text);
                                      block_.places.push_back(place.file + ":" + std::to_string(place.line));
                                      block_.num_bytes += static_cast<int64_t>(text.size());
                                      if (block_.num_bytes >= options_.block_bytes) start_block();
                                    });
  start_block();
  finish_block();
  ENGRAM_CHECK(num_documents() > 0, "data build: ", summary_.text.files.size(), " files hold no document (",
               summary_.text.num_empty, " empty, ", summary_.text.num_bad_records, " bad)");
}

void Build::start_block() {
  finish_block();
  if (block_.texts.empty()) return;
  const std::string path = BuildDirectory::path_of(options_.output) + "/" + std::to_string(blocks_.size());
  num_bytes_ += block_.num_bytes;
  running_ =
      std::async(std::launch::async, [this, path, block = std::exchange(block_, {})] { return encoded(block, path); });
}

void Build::finish_block() {
  if (!running_.valid()) return;
  blocks_.push_back(running_.get());
  first_documents_.push_back(first_documents_.back() + blocks_.back().num_documents());
  if (options_.progress) options_.progress(num_documents(), num_bytes_);
}

EncodedBlock Build::encoded(const TextBlock& block, const std::string& path) {
  const std::string key = key_of(block);
  if (auto kept = EncodedBlock::open(path, key)) {
    summary_.num_kept += kept->num_documents();
    return std::move(*kept);
  }
  auto documents = encode(block);
  for (auto& document : documents) document.push_back(static_cast<int32_t>(encoder_.eos_id));
  EncodedBlock::write(path, key, documents);
  auto written = EncodedBlock::open(path, key);
  ENGRAM_CHECK(written, path, ": does not hold what was written to it");
  return std::move(*written);
}

std::vector<std::vector<int32_t>> Build::encode(const TextBlock& block) const {
  try {
    return encoder_.encode(block.texts);
  } catch (const Error&) {
    for (size_t i = 0; i < block.texts.size(); ++i) {  // again one by one, to say which
      try {
        encoder_.encode(std::span(block.texts).subspan(i, 1));
      } catch (const Error& error) {
        throw Error(block.places[i] + ": " + error.what());
      }
    }
    throw;
  }
}

// Of everything the tokens of a block depend on.
std::string Build::key_of(const TextBlock& block) const {
  RunningDigest digest;
  const auto add = [&](std::string_view text) {
    const std::string size = std::to_string(text.size()) + ":";
    digest.update(std::as_bytes(std::span(size)));
    digest.update(std::as_bytes(std::span(text)));
  };
  add(encoder_.tokenizer_digest + " " + std::to_string(encoder_.vocab_size) + " " + std::to_string(encoder_.eos_id));
  for (const std::string& text : block.texts) add(text);
  return digest.digest();
}

std::span<const int32_t> Build::document(int64_t number) const {
  const auto after = std::upper_bound(first_documents_.begin(), first_documents_.end(), number);
  const auto block = static_cast<size_t>(after - first_documents_.begin()) - 1;
  return blocks_[block].document(number - first_documents_[block]);
}

// The documents that are held out, or those that are not, counted.
TokenStoreHeader Build::header_of_store(bool is_held) const {
  TokenStoreHeader header{.tokenizer_digest = encoder_.tokenizer_digest,
                          .vocab_size = encoder_.vocab_size,
                          .eos_id = encoder_.eos_id,
                          .num_tokens = 0,
                          .num_documents = 0};
  int64_t number = 0;
  for (const TextFileReport& file : summary_.text.files) {
    StoreSource source{.path = file.path, .digest = file.digest};
    for (const int64_t end = number + file.num_documents; number < end; ++number) {
      if (holdout_.holds(number) != is_held) continue;
      ++source.num_documents;
      source.num_tokens += std::ssize(document(number));
    }
    header.num_documents += source.num_documents;
    header.num_tokens += source.num_tokens;
    header.sources.push_back(std::move(source));
  }
  return header;
}

// The same documents, in shuffled order.
StoreSummary Build::write_store(const std::string& path, bool is_held) const {
  const TokenStoreHeader header = header_of_store(is_held);
  const std::string directory = directory_of(path);
  std::filesystem::create_directories(directory);
  constexpr int64_t kOverhead = int64_t{4} << 20;
  check_free_space(directory, 4 * header.num_tokens + 8 * header.num_documents + kOverhead);

  TokenStoreWriter writer(path, header);
  const auto size = static_cast<uint64_t>(num_documents());
  for (uint64_t i = 0; i < size; ++i) {
    const auto number = static_cast<int64_t>(keyed_permutation(options_.seed, kDocumentStream, i, size));
    if (holdout_.holds(number) == is_held) writer.append(document(number));
  }
  return {
      .path = path, .digest = writer.finish(), .num_documents = header.num_documents, .num_tokens = header.num_tokens};
}

}  // namespace

BuildSummary build_token_store(const BuildOptions& options, const StoreEncoder& encoder) {
  check_options(options, encoder);
  return Build(options, encoder).run();
}

}  // namespace engram
