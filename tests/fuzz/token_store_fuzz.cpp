#include "data/sealed_file.h"
#include "data/token_store.h"
#include "tests/data/temporary_directory.h"
#include "tests/fuzz/file_edits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/hdf5_checksums.h"

// A token store with edits (file_edits.h), sealed again, so that HDF5 and all after it see them.
namespace engram::fuzz {
namespace {

struct Store {
  Store() {
    TokenStoreWriter writer(path, {.tokenizer_digest = "0123456789abcdef",
                                   .vocab_size = 300,
                                   .eos_id = 0,
                                   .num_tokens = 9,
                                   .num_documents = 3,
                                   .sources = {{"a.txt", "one", 1, 4}, {"b.jsonl", "two", 2, 5}}});
    for (const std::vector<int32_t>& document : {std::vector{5, 299, 7, 0}, {8, 0}, {1, 2, 0}}) {
      writer.append(document);
    }
    writer.finish();
    bytes = test::read_file(path);
    tokens = check_seal(path, "engram token store");
  }

  test::TemporaryDirectory directory;
  const std::string path = directory / "store.h5";
  std::string bytes;
  ByteRange tokens;  // which the seal leaves out
};

}  // namespace

bool reads(std::string_view input) {
  static const Store kStore;
  const std::string bytes = with_checksums(edited(kStore.bytes, input));
  if (static_cast<int64_t>(bytes.size()) <= kStore.tokens.end) return false;
  test::write_file(kStore.path, bytes);
  seal_file(kStore.path, "engram token store", kStore.tokens);
  return accepts([&] {
    const TokenStore store = TokenStore::open(kStore.path);
    std::vector<int32_t> tokens(static_cast<size_t>(store.num_tokens()));
    std::vector<uint8_t> starts(tokens.size());
    store.read(0, tokens, starts);
  });
}

}  // namespace engram::fuzz
