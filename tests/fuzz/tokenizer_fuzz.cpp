#include <optional>

#include "data/bpe_tokenizer.h"
#include "tests/fuzz/fuzz.h"

// tokenizer.json: what is taken encodes text, to ids that it decodes.
namespace engram::fuzz {
namespace {

constexpr std::string_view kText = "The 12 caf\u00e9s, e\u0301t <|endoftext|>\n\n  \u65e5\u672c 's  x\U0001f600";

}  // namespace

bool reads(std::string_view input) {
  std::optional<BpeTokenizer> tokenizer;
  if (!accepts([&] { tokenizer = BpeTokenizer::parse(input, "tokenizer.json"); })) return false;
  std::vector<int32_t> ids;
  accepts([&] { ids = tokenizer->encode(kText); });  // its patterns may ask for more than PCRE2 allows
  tokenizer->decode(ids);
  return true;
}

}  // namespace engram::fuzz
