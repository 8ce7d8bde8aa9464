#include "data/bpe_tokenizer.h"
#include "data/text_source.h"
#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"

// Text as `data build` reads it, as .jsonl where it begins with a brace and as .txt elsewhere: bad records are told or
// counted, never more; what is a document is encoded to ids that stand for its bytes.
namespace engram::fuzz {
namespace {

constexpr int64_t kMaxLineBytes = 256;

const BpeTokenizer& tokenizer() {
  static const BpeTokenizer kTokenizer =
      BpeTokenizer::load(ENGRAM_SOURCE_DIR "/data/tokenizers/english_8k/tokenizer.json");
  return kTokenizer;
}

// True where no record is bad.
bool reads_file(const std::string& path) {
  TextSourceOptions options{.max_line_bytes = kMaxLineBytes};
  int64_t num_documents = 0;
  const bool is_good =
      accepts([&] { num_documents = for_each_document({path}, options, [](auto&&...) {}).num_documents; });
  options.on_bad_record = BadRecordPolicy::kSkip;
  BpeEncoder encoder(tokenizer());
  const TextSourceReport report = for_each_document({path}, options, [&](std::string_view text, const TextPlace&) {
    std::vector<int32_t> ids;
    encoder.encode(text, ids);
    must_hold(tokenizer().decode(ids) == text, "a document is decoded as it was");
  });
  must_hold(is_good == (report.num_bad_records == 0), "a bad record is counted where the other policy stops");
  must_hold(!is_good || num_documents == report.num_documents, "good documents are all there");
  return is_good;
}

}  // namespace

bool reads(std::string_view input) {
  static const test::TemporaryDirectory kDirectory;
  const std::string path = kDirectory / (input.starts_with('{') ? "input.jsonl" : "input.txt");
  test::write_file(path, std::string(input));
  return reads_file(path);
}

}  // namespace engram::fuzz
