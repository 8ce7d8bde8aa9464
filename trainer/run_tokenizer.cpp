#include "trainer/run_tokenizer.h"

#include <filesystem>

#include "data/atomic_file.h"
#include "kernels/core/check.h"
#include "trainer/manifest.h"

namespace engram {

namespace fs = std::filesystem;

void keep_tokenizer(const RunConfig& config, const std::string& digest) {
  const std::string text = contents_of_file(config.data.tokenizer);
  const std::string got = digest_of(std::as_bytes(std::span(text)));
  ENGRAM_CHECK(got == digest, config.data.tokenizer, ": its digest is ", got, ", and was ", digest,
               " when it was read; start again once nobody changes it");
  write_file_atomically(config.run.directory() + "/" + kTokenizerName, text);
}

std::string tokenizer_of(const std::string& checkpoint, const RunConfig& config) {
  const fs::path path = directory_path(fs::absolute(checkpoint));
  const std::string copy = path.parent_path().parent_path() / kTokenizerName;
  const std::string digest = read_manifest(checkpoint).identity.tokenizer_digest;
  for (const std::string& file : {config.data.tokenizer, copy}) {
    if (fs::is_regular_file(file) && digest_of_file(file) == digest) return file;
  }
  ENGRAM_FAIL(checkpoint, ": its tokenizer has the digest ", digest, ", and is neither ", config.data.tokenizer,
              " nor ", copy, "; give it with --tokenizer FILE");
}

}  // namespace engram
