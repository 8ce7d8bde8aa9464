#include "data/token_store.h"

#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <variant>

#include "data/atomic_file.h"
#include "data/hdf5_file.h"
#include "data/json_integer.h"
#include "data/read_only_file.h"
#include "data/sealed_file.h"
#include "kernels/core/check.h"

namespace engram {
namespace {

constexpr int64_t kFormatVersion = 3, kOldestVersion = 2;
constexpr const char* kFormat = "engram token store";
constexpr const char* kTokens = "tokens";
constexpr const char* kContents = "engram token store 1\n";  // begins what is digested, as in format version 1
constexpr int64_t kBlockTokens = int64_t{1} << 19;
constexpr int64_t kMaxVocabularyOfUint16 = int64_t{1} << 16;

using Tokens = std::variant<std::vector<uint16_t>, std::vector<uint32_t>>;

Tokens make_tokens(int64_t vocab_size, int64_t count) {
  if (vocab_size <= kMaxVocabularyOfUint16) return std::vector<uint16_t>(static_cast<size_t>(count));
  return std::vector<uint32_t>(static_cast<size_t>(count));
}

int64_t num_blocks(int64_t num_tokens) { return (num_tokens + kBlockTokens - 1) / kBlockTokens; }

template <class T>
uint64_t digest_of_block(std::span<const T> tokens) {
  return XXH3_64bits(tokens.data(), tokens.size_bytes());
}

// Covers all that a store says; each part by its size too, so that none can run into the next.
std::string digest_of_store(const TokenStoreHeader& header, std::span<const uint64_t> doc_offsets,
                            std::span<const uint64_t> block_digests) {
  std::ostringstream text;
  text << kContents << header.tokenizer_digest;
  for (const int64_t number : {header.vocab_size, header.eos_id, header.num_tokens, header.num_documents}) {
    text << '\n' << number;
  }
  text << '\n' << digest_of(std::as_bytes(doc_offsets)) << digest_of(std::as_bytes(block_digests));
  return digest_of(std::as_bytes(std::span(text.view())));
}

std::string sources_text(std::span<const StoreSource> sources) {
  auto list = nlohmann::ordered_json::array();
  for (const StoreSource& source : sources) {
    list.push_back({{"path", source.path},
                    {"digest", source.digest},
                    {"num_documents", source.num_documents},
                    {"num_tokens", source.num_tokens}});
  }
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;  // paths need not be UTF-8
  return list.dump(-1, ' ', false, kReplace);
}

std::vector<StoreSource> parse_sources(const std::string& path, const std::string& text) {
  const auto integer = [&](const nlohmann::json& entry, const char* key) {
    return json_integer(entry.at(key), path + ": attribute sources: " + key);
  };
  std::vector<StoreSource> sources;
  try {
    for (const auto& entry : nlohmann::json::parse(text)) {
      sources.push_back({.path = entry.at("path"),
                         .digest = entry.at("digest"),
                         .num_documents = integer(entry, "num_documents"),
                         .num_tokens = integer(entry, "num_tokens")});
    }
  } catch (const nlohmann::json::exception& error) {
    ENGRAM_FAIL(path, ": attribute sources: ", error.what());
  }
  return sources;
}

void check_sources(const std::string& path, const TokenStoreHeader& header) {
  int64_t num_documents = 0, num_tokens = 0;
  bool is_counted = true;  // no negative count, and no sum beyond 64 bits
  for (const StoreSource& source : header.sources) {
    is_counted = is_counted && source.num_documents >= 0 && source.num_tokens >= 0 &&
                 !__builtin_add_overflow(num_documents, source.num_documents, &num_documents) &&
                 !__builtin_add_overflow(num_tokens, source.num_tokens, &num_tokens);
  }
  const bool fits = is_counted && num_documents == header.num_documents && num_tokens == header.num_tokens;
  ENGRAM_CHECK(header.sources.empty() || fits, path, ": sources hold ", num_documents, " documents of ", num_tokens,
               " tokens, wanted ", header.num_documents, " of ", header.num_tokens);
}

void check_header(const std::string& path, const TokenStoreHeader& header) {
  constexpr int64_t kMaxCount = int64_t{1} << 50;
  ENGRAM_CHECK(header.vocab_size > 0 && header.vocab_size <= INT32_MAX, path, ": vocabulary of ", header.vocab_size,
               " ids; wanted 1 to 2^31 - 1");
  ENGRAM_CHECK(header.eos_id >= 0 && header.eos_id < header.vocab_size, path, ": end-of-document id ", header.eos_id,
               " is outside the vocabulary of ", header.vocab_size);
  ENGRAM_CHECK(header.num_tokens >= 0 && header.num_tokens < kMaxCount && header.num_documents >= 0 &&
                   header.num_documents <= header.num_tokens,
               path, ": ", header.num_tokens, " tokens in ", header.num_documents, " documents");
  check_sources(path, header);
}

}  // namespace

struct TokenStoreWriter::State {
  std::string path;
  TokenStoreHeader header;
  AtomicFile file;
  Hdf5Writer writer;
  Tokens block;  // tokens that wait for their block to fill
  int64_t num_in_block = 0, num_written = 0;
  std::vector<uint64_t> doc_offsets{0}, block_digests;

  State(const std::string& path_, TokenStoreHeader header_)
      : path(path_),
        header(std::move(header_)),
        file(path),
        writer(file.temporary_path(), kSealBytes),
        block(make_tokens(header.vocab_size, kBlockTokens)) {
    std::visit(
        [&]<class T>(const std::vector<T>&) {
          writer.create_dataset(kTokens, file_type_of<T>(), std::vector<int64_t>{header.num_tokens}, kInOnePiece);
        },
        block);
  }
  void write_block();
};

void TokenStoreWriter::State::write_block() {
  std::visit(
      [&]<class T>(const std::vector<T>& tokens) {
        const std::span<const T> filled(tokens.data(), static_cast<size_t>(num_in_block));
        writer.write_rows(kTokens, num_written, filled);
        block_digests.push_back(digest_of_block(filled));
      },
      block);
  num_written += num_in_block;
  num_in_block = 0;
}

TokenStoreWriter::TokenStoreWriter(const std::string& path, TokenStoreHeader header) {
  check_header(path, header);
  state_ = std::make_unique<State>(path, std::move(header));
}

TokenStoreWriter::~TokenStoreWriter() = default;

void TokenStoreWriter::append(std::span<const int32_t> document) {
  State& s = *state_;
  std::visit(
      [&]<class T>(std::vector<T>& block) {
        for (size_t i = 0; i < document.size(); ++i) {
          const int32_t id = document[i];
          ENGRAM_CHECK(id >= 0 && id < s.header.vocab_size, s.path, ": document ", s.doc_offsets.size() - 1, ", token ",
                       i, ": id ", id, " is outside the vocabulary of ", s.header.vocab_size);
          block[static_cast<size_t>(s.num_in_block++)] = static_cast<T>(id);
          if (s.num_in_block == kBlockTokens) s.write_block();
        }
      },
      s.block);
  s.doc_offsets.push_back(s.doc_offsets.back() + document.size());
}

namespace {

// None of tokens that are in chunks, or of none.
ByteRange place_of_tokens(const DatasetInfo& tokens) {
  if (tokens.offset < 0) return {};
  return {tokens.offset, tokens.offset + tokens.shape[0] * size_of(tokens.type)};
}

}  // namespace

std::string TokenStoreWriter::finish() {
  State& s = *state_;
  if (s.num_in_block > 0) s.write_block();
  const auto num_documents = static_cast<int64_t>(s.doc_offsets.size()) - 1;
  ENGRAM_CHECK(s.num_written == s.header.num_tokens && num_documents == s.header.num_documents, s.path, ": got ",
               s.num_written, " tokens in ", num_documents, " documents, wanted ", s.header.num_tokens, " in ",
               s.header.num_documents);
  s.writer.write_dataset("doc_offsets", std::span<const uint64_t>(s.doc_offsets));
  s.writer.write_dataset("block_digests", std::span<const uint64_t>(s.block_digests));
  const std::string digest = digest_of_store(s.header, s.doc_offsets, s.block_digests);
  s.writer.set_attribute("", "format", std::string(kFormat));
  s.writer.set_attribute("", "format_version", kFormatVersion);
  s.writer.set_attribute("", "tokenizer_digest", s.header.tokenizer_digest);
  s.writer.set_attribute("", "vocab_size", s.header.vocab_size);
  s.writer.set_attribute("", "eos_id", s.header.eos_id);
  s.writer.set_attribute("", "num_tokens", s.header.num_tokens);
  s.writer.set_attribute("", "num_documents", s.header.num_documents);
  s.writer.set_attribute("", "sources", sources_text(s.header.sources));
  s.writer.set_attribute("", "digest", digest);
  s.writer.close();
  const DatasetInfo tokens = Hdf5Reader(s.file.temporary_path(), kTokens).dataset_info(kTokens);
  seal_file(s.file.temporary_path(), kFormat, place_of_tokens(tokens));
  s.file.publish();
  return digest;
}

namespace {

TokenStoreHeader read_header(const Hdf5Reader& reader) {
  const std::string& path = reader.path();
  ENGRAM_CHECK(reader.has_attribute("", "format") && reader.string_attribute("", "format") == kFormat, path,
               ": is no token store (attribute format); make one with: engram data build");
  const int64_t version = reader.int_attribute("", "format_version");
  ENGRAM_CHECK(version >= kOldestVersion && version <= kFormatVersion, path, ": format version ", version, ", wanted ",
               kOldestVersion, " to ", kFormatVersion, "; build the store again with this program");
  TokenStoreHeader header{.tokenizer_digest = reader.string_attribute("", "tokenizer_digest"),
                          .vocab_size = reader.int_attribute("", "vocab_size"),
                          .eos_id = reader.int_attribute("", "eos_id"),
                          .num_tokens = reader.int_attribute("", "num_tokens"),
                          .num_documents = reader.int_attribute("", "num_documents"),
                          .sources = parse_sources(path, reader.string_attribute("", "sources"))};
  check_header(path, header);
  return header;
}

void check_count(const Hdf5Reader& reader, const std::string& name, int64_t wanted) {
  const std::vector<int64_t> shape = reader.dataset_info(name).shape;
  ENGRAM_CHECK(shape == std::vector<int64_t>{wanted}, reader.path(), ": ", name, ": shape ",
               to_string(std::span<const int64_t>(shape)), ", wanted [", wanted, "]");
}

std::vector<uint64_t> read_numbers(const Hdf5Reader& reader, const std::string& name, int64_t count) {
  check_count(reader, name, count);
  std::vector<uint64_t> values(static_cast<size_t>(count));
  reader.read_dataset(name, std::span(values));
  return values;
}

// Offsets rise from 0 to num_tokens, no document being empty.
void check_offsets(const std::string& path, std::span<const uint64_t> offsets, int64_t num_tokens) {
  const auto descent = std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>());
  ENGRAM_CHECK(descent == offsets.end(), path, ": doc_offsets: document ", descent - offsets.begin(), " ends at ",
               *(descent + 1), ", not after its start ", *descent);
  ENGRAM_CHECK(offsets.front() == 0 && offsets.back() == static_cast<uint64_t>(num_tokens), path,
               ": doc_offsets: range from ", offsets.front(), " to ", offsets.back(), ", wanted 0 to ", num_tokens);
}

// Calls call(T()) for the type of a store's elements.
template <class Call>
auto with_type(int64_t vocab_size, Call call) {
  return vocab_size <= kMaxVocabularyOfUint16 ? call(uint16_t{0}) : call(uint32_t{0});
}

// `what` ends the message.
template <class T>
void check_ids(const std::string& path, std::span<const T> tokens, int64_t first, int64_t vocab_size,
               const char* what = "") {
  const auto outside = std::find_if(tokens.begin(), tokens.end(), [&](T id) { return int64_t{id} >= vocab_size; });
  ENGRAM_CHECK(outside == tokens.end(), path, ": tokens: position ", first + (outside - tokens.begin()), " holds id ",
               *outside, ", outside the vocabulary of ", vocab_size, what);
}

// Where a path that is not absolute starts: a run may have named it as seen from another directory.
std::string sought_from(const std::string& path) {
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  return std::filesystem::path(path).is_absolute() || error ? "" : "; sought from " + here.string();
}

}  // namespace

// Where the tokens are.
struct TokenStore::File {
  ReadOnlyFile bytes;
  Hdf5Reader reader;
  int64_t offset = -1;  // of the first token in the file; -1: they lie in chunks

  explicit File(const std::string& path) : bytes(path), reader(path, kTokens) {}

  template <class T>
  void read(int64_t first, std::span<T> tokens) const {
    if (tokens.empty()) return;
    if (offset < 0) return reader.read_rows(kTokens, first, tokens);
    bytes.read(offset + first * static_cast<int64_t>(sizeof(T)), std::as_writable_bytes(tokens));
  }
  // Throws Error unless the tokens are of this type and count and those that `skipped`, the seal's gap, is made for.
  void check_tokens(FileType type, int64_t num_tokens, const ByteRange& skipped) {
    const DatasetInfo info = reader.dataset_info(kTokens);
    const std::string& path = reader.path();
    check_count(reader, kTokens, num_tokens);
    ENGRAM_CHECK(info.type == type, path, ": tokens: elements are ", name_of(info.type), ", wanted ", name_of(type));
    const ByteRange wanted = place_of_tokens(info);
    ENGRAM_CHECK(skipped == wanted, path, ": the seal leaves out bytes ", skipped.begin, " to ", skipped.end,
                 ", the tokens are bytes ", wanted.begin, " to ", wanted.end, "; the file was altered, build it again");
    offset = info.offset;
  }
};

TokenStore::TokenStore(std::unique_ptr<File> file) : file_(std::move(file)) {}
TokenStore::~TokenStore() = default;
TokenStore::TokenStore(TokenStore&&) noexcept = default;
TokenStore& TokenStore::operator=(TokenStore&&) noexcept = default;

TokenStore TokenStore::open_unchecked(const std::string& path) {
  ENGRAM_CHECK(std::filesystem::status(path).type() != std::filesystem::file_type::not_found, path,
               ": no such file; wanted a token store, which `engram data build` makes of text", sought_from(path));
  const ByteRange skipped = check_seal(path, kFormat);
  TokenStore store(std::make_unique<File>(path));
  const Hdf5Reader& reader = store.file_->reader;
  store.path_ = path;
  store.header_ = read_header(reader);
  store.doc_offsets_ = read_numbers(reader, "doc_offsets", store.num_documents() + 1);
  store.block_digests_ = read_numbers(reader, "block_digests", num_blocks(store.num_tokens()));
  store.digest_ = reader.string_attribute("", "digest");
  const std::string digest = digest_of_store(store.header_, store.doc_offsets_, store.block_digests_);
  ENGRAM_CHECK(digest == store.digest_, path, ": header and offsets have digest ", digest, ", wanted ", store.digest_,
               "; the file was altered, build it again");
  check_offsets(path, store.doc_offsets_, store.num_tokens());
  const FileType type = with_type(store.header_.vocab_size, []<class T>(T) { return file_type_of<T>(); });
  store.file_->check_tokens(type, store.num_tokens(), skipped);
  return store;
}

TokenStore TokenStore::open(const std::string& path) {
  TokenStore store = open_unchecked(path);
  store.check_blocks();
  return store;
}

void TokenStore::check_blocks(const BlockShare& share) const {
  with_type(header_.vocab_size, [&]<class T>(T) {
    std::vector<T> buffer(static_cast<size_t>(std::min(kBlockTokens, num_tokens())));
    for (int64_t block = share.first; block < std::ssize(block_digests_); block += share.every) {
      const int64_t first = block * kBlockTokens;
      const auto tokens = std::span(buffer).first(static_cast<size_t>(std::min(kBlockTokens, num_tokens() - first)));
      file_->read(first, tokens);
      const uint64_t digest = digest_of_block<T>(tokens), wanted = block_digests_[static_cast<size_t>(block)];
      ENGRAM_CHECK(digest == wanted, path_, ": tokens: block ", block, " (from token ", first, ") has digest ", digest,
                   ", wanted ", wanted, "; the file was altered, build it again");
      check_ids<T>(path_, tokens, first, header_.vocab_size);
    }
  });
}

bool TokenStore::is_store(const std::string& path) { return begins_like(path, kFormat); }

int64_t TokenStore::memory_of(const std::string& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  if (missing) return 0;
  const ByteRange skipped = range_without_seal(path, kFormat);
  return static_cast<int64_t>(size) - (skipped.end - skipped.begin);
}

std::string TokenStore::file_identity() const { return file_->bytes.identity(); }

void TokenStore::check_tokenizer(const std::string& tokenizer_digest, int64_t vocab_size) const {
  ENGRAM_CHECK(header_.tokenizer_digest == tokenizer_digest, path_, ": was built with the tokenizer of digest ",
               header_.tokenizer_digest, ", got one of digest ", tokenizer_digest,
               "; name the tokenizer it was built with, or build it again");
  ENGRAM_CHECK(header_.vocab_size == vocab_size, path_, ": was built for a vocabulary of ", header_.vocab_size,
               " ids, got one of ", vocab_size);
}

void TokenStore::read(int64_t first, std::span<int32_t> tokens, std::span<uint8_t> starts) const {
  const auto count = static_cast<int64_t>(tokens.size());
  ENGRAM_CHECK(first >= 0 && count <= num_tokens() && first <= num_tokens() - count && starts.size() == tokens.size(),
               path_, ": tokens ", first, " to ", first + count, " (and ", starts.size(), " starts) of ", num_tokens());
  with_type(header_.vocab_size, [&]<class T>(T) {
    std::vector<T> read(tokens.size());
    file_->read(first, std::span(read));
    check_ids<T>(path_, read, first, header_.vocab_size, "; the file was altered after it was opened");
    std::copy(read.begin(), read.end(), tokens.begin());
  });
  std::fill(starts.begin(), starts.end(), uint8_t{0});
  const auto begin = static_cast<uint64_t>(first), end = static_cast<uint64_t>(first + count);
  for (auto start = std::lower_bound(doc_offsets_.begin(), doc_offsets_.end() - 1, begin);
       start != doc_offsets_.end() - 1 && *start < end; ++start) {
    starts[*start - begin] = 1;
  }
}

}  // namespace engram
