#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace engram {

// A file that documents came from, with what of it is in a store.
struct StoreSource {
  std::string path;
  std::string digest;  // XXH3-128 of the file
  int64_t num_documents = 0;
  int64_t num_tokens = 0;
};

// What a token store says about itself.
struct TokenStoreHeader {
  std::string tokenizer_digest;  // of the tokenizer that made the ids
  int64_t vocab_size = 0;        // ids are in [0, vocab_size)
  int64_t eos_id = 0;            // ends every document
  int64_t num_tokens = 0;
  int64_t num_documents = 0;
  std::vector<StoreSource> sources = {};  // may be empty; otherwise their counts add up to the two above
};

// Writes a store: a sealed HDF5 file (sealed_file.h) of
//   /tokens         [num_tokens]         uint16 where vocab_size <= 65536, else uint32; documents one after the other,
//                                        in one piece; the seal does not cover it, the block digests do
//   /doc_offsets    [num_documents + 1]  uint64; document i is tokens [doc_offsets[i], doc_offsets[i + 1])
//   /block_digests  [ceil(num_tokens / 2^19)]  uint64; XXH3-64 of each block of 2^19 tokens
// and attributes: format, format_version, the header's fields (sources as JSON), and digest, the XXH3-128 of tokenizer
// digest, counts, offsets and block digests: the same tokens have the same digest, wherever they came from. The file
// appears under its name only when finish() succeeds. Equal contents give equal bytes.
class TokenStoreWriter {
 public:
  // The counts in the header are what append() calls must add up to.
  TokenStoreWriter(const std::string& path, TokenStoreHeader header);
  ~TokenStoreWriter();

  // One document, its end-of-document id included. Throws Error for an id outside the vocabulary.
  void append(std::span<const int32_t> document);
  // Returns the digest.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Blocks first, first + every, ... of a store.
struct BlockShare {
  int64_t first = 0, every = 1;
};

// A store whose tokens stay in its file; in memory are where documents start and the digests of blocks. Threads may
// share it. Stores of format version 2 are read too: their tokens lie in chunks of 2^19, which HDF5 reads whole, under
// a seal that covers them.
class TokenStore {
 public:
  // Opens it and checks all blocks. Throws Error where the file is no token store, of another version, truncated,
  // altered, or holds an id outside its vocabulary. The seal is compared before HDF5 takes the file apart.
  static TokenStore open(const std::string& path);
  // The same, but for the blocks, each of which the caller has checked before any token is used.
  static TokenStore open_unchecked(const std::string& path);
  void check_blocks(const BlockShare& share = {}) const;

  // Whether the file begins like a store, whole or damaged.
  static bool is_store(const std::string& path);
  // Bytes of memory that the store in this file takes, about; 0 where there is none.
  static int64_t memory_of(const std::string& path);
  ~TokenStore();
  TokenStore(TokenStore&&) noexcept;
  TokenStore& operator=(TokenStore&&) noexcept;

  const std::string& path() const { return path_; }
  const TokenStoreHeader& header() const { return header_; }
  int64_t num_tokens() const { return header_.num_tokens; }
  int64_t num_documents() const { return header_.num_documents; }
  // Identifies header and contents; a run that resumes compares it.
  const std::string& digest() const { return digest_; }
  // num_documents + 1 positions; the last is num_tokens.
  std::span<const uint64_t> doc_offsets() const { return doc_offsets_; }

  // Throws Error unless the store was made by this tokenizer.
  void check_tokenizer(const std::string& tokenizer_digest, int64_t vocab_size) const;

  // Equal on all ranks that opened the same file, see ReadOnlyFile.
  std::string file_identity() const;

  // Tokens [first, first + out.size()), and 1 in starts where a document starts, else 0. Throws IoError where they
  // cannot be read, and Error where one is outside the vocabulary, the file having been altered since it was checked.
  void read(int64_t first, std::span<int32_t> tokens, std::span<uint8_t> starts) const;

 private:
  struct File;
  explicit TokenStore(std::unique_ptr<File> file);

  std::string path_, digest_;
  TokenStoreHeader header_;
  std::unique_ptr<File> file_;
  std::vector<uint64_t> doc_offsets_, block_digests_;
};

}  // namespace engram
