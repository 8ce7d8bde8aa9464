#include "data/bpe_tokenizer.h"

#include <nlohmann/json.hpp>

#include "data/byte_level.h"
#include "data/unicode_nfc.h"
#include "data/utf8.h"
#include "tests/data/shared_files.h"
#include "tests/testing.h"

namespace engram {
namespace {

using nlohmann::json;

std::string letter(int byte) {
  std::string text;
  append_utf8(byte_to_letter(static_cast<uint8_t>(byte)), text);
  return text;
}

// A complete small tokenizer: the bytes, three merges that build "abc" and "bc", one special token.
json small_tokenizer() {
  json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[letter(byte)] = byte;
  vocab["bc"] = 256;
  vocab["ab"] = 257;
  vocab["abc"] = 258;
  return {{"normalizer", nullptr},
          {"added_tokens", {{{"id", 259}, {"content", "<|endoftext|>"}, {"special", true}}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"b c", "a b", "ab c"}}}}};
}

std::vector<int32_t> encode(const json& tokenizer, std::string_view text) {
  return BpeTokenizer::parse(tokenizer.dump(), "small").encode(text);
}

void expect_refused(const json& tokenizer, const std::string& wanted) {
  const std::string message = test::error_of([&] { BpeTokenizer::parse(tokenizer.dump(), "small.json"); });
  EXPECT_NE(message.find(wanted), std::string::npos) << "got: " << message << "\nwanted: " << wanted;
  EXPECT_EQ(message.find("tokenizer small.json: "), 0u) << message;
}

struct GoldenTokenizerTest : ::testing::TestWithParam<const char*> {};

TEST_P(GoldenTokenizerTest, EncodesAndDecodesAsTheReference) {
  const std::string folder = std::string("data/tokenizers/") + GetParam();
  const auto path = test::shared_file(folder + "/tokenizer.json");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const BpeTokenizer tokenizer = BpeTokenizer::load(path);
  BpeEncoder encoder(tokenizer);
  std::ifstream lines(test::shared_file(folder + "/golden.jsonl"));
  const bool has_normalizer = folder.ends_with("qwen2.5");
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json expected = json::parse(line);
    const auto text = expected["text"].get<std::string>();
    std::vector<int32_t> ids;
    encoder.encode(text, ids);
    EXPECT_EQ(ids, expected["ids"].get<std::vector<int32_t>>()) << expected["text"];
    EXPECT_EQ(tokenizer.encode(text), ids);
    EXPECT_EQ(tokenizer.decode(ids), has_normalizer ? normalize_nfc(text) : text);
  }
  EXPECT_EQ(count, 156);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, GoldenTokenizerTest,
                         ::testing::Values("gpt2", "llama3", "qwen2.5", "deepseek-v3"));

TEST(BpeTokenizerTest, MergesLowestRankThenLeftmost) {
  json tokenizer = small_tokenizer();
  tokenizer["model"]["vocab"]["aa"] = 260;
  tokenizer["model"]["merges"].push_back("a a");
  EXPECT_EQ(encode(tokenizer, "abc"), (std::vector<int32_t>{'a', 256}));  // "b c" comes before "a b"
  EXPECT_EQ(encode(tokenizer, "aaa"), (std::vector<int32_t>{260, 'a'}));
  EXPECT_EQ(encode(tokenizer, "abab"), (std::vector<int32_t>{257, 257}));
  EXPECT_EQ(encode(tokenizer, ""), std::vector<int32_t>{});
  EXPECT_EQ(encode(tokenizer, "a"), std::vector<int32_t>{'a'});
}

TEST(BpeTokenizerTest, IgnoreMergesTakesWholeWordsFirst) {
  json tokenizer = small_tokenizer();
  tokenizer["model"]["ignore_merges"] = true;
  EXPECT_EQ(encode(tokenizer, "abc"), std::vector<int32_t>{258});
  EXPECT_EQ(encode(tokenizer, "abcb"), (std::vector<int32_t>{'a', 256, 'b'}));
}

TEST(BpeTokenizerTest, LongWordsMergeLikeShortOnes) {
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += "ab";
  EXPECT_EQ(encode(small_tokenizer(), text), std::vector<int32_t>(300'000, 257));
}

TEST(BpeTokenizerTest, AddedTokensAreFoundLongestFirstUnlessAskedNotTo) {
  json tokenizer = small_tokenizer();
  tokenizer["added_tokens"].push_back({{"id", 260}, {"content", "<|endoftext|>!"}});
  const auto loaded = BpeTokenizer::parse(tokenizer.dump(), "small");
  EXPECT_EQ(loaded.encode("a<|endoftext|>!<|endoftext|>"), (std::vector<int32_t>{'a', 260, 259}));
  EXPECT_EQ(loaded.end_of_text(), 259);
  EXPECT_TRUE(loaded.is_special(259));
  EXPECT_FALSE(loaded.is_special(260));
  EXPECT_EQ(loaded.decode({259, 'a'}), "<|endoftext|>a");
  std::vector<int32_t> ids{7};
  BpeEncoder(loaded).encode("<|endoftext|>", ids, AddedTokenPolicy::kText);
  EXPECT_EQ(ids.size(), 1 + std::string("<|endoftext|>").size());
}

TEST(BpeTokenizerTest, NormalizedAddedTokensAreLookedForAfterTheOthersInNormalizedText) {
  json tokenizer = small_tokenizer();
  tokenizer["added_tokens"].push_back({{"id", 260}, {"content", "b<|end"}, {"normalized", true}});
  tokenizer["added_tokens"].push_back({{"id", 261}, {"content", "\u00E9!"}, {"normalized", true}});
  EXPECT_EQ(encode(tokenizer, "ab<|endoftext|>b<|end"), (std::vector<int32_t>{257, 259, 260}));
  EXPECT_NE(encode(tokenizer, "e\u0301!"), std::vector<int32_t>{261});
  tokenizer["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(encode(tokenizer, "e\u0301!"), std::vector<int32_t>{261});
}

TEST(BpeTokenizerTest, AnyBytesSurviveTheRoundTrip) {
  const auto tokenizer = BpeTokenizer::parse(small_tokenizer().dump(), "small");
  std::string text;
  for (char32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 997) {
    if (c < 0xD800 || c > 0xDFFF) append_utf8(c, text);
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST(BpeTokenizerTest, SplitStepsFollowTheirBehavior) {
  const auto ids_with = [](const std::string& behavior, const json& pattern, bool invert) {
    json tokenizer = small_tokenizer();
    const json split{{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
    const json bytes{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
    return encode(tokenizer, "abcab");
  };
  const std::vector<int32_t> whole{'a', 256, 257}, cut{257, 'c', 257};
  EXPECT_EQ(ids_with("Isolated", {{"Regex", "x+"}}, false), whole);
  EXPECT_EQ(ids_with("Isolated", {{"String", "c"}}, false), cut);
  EXPECT_EQ(ids_with("Removed", {{"Regex", "[c]"}}, false), (std::vector<int32_t>{257, 257}));
  EXPECT_EQ(ids_with("Removed", {{"Regex", "c"}}, true), std::vector<int32_t>{'c'});
  EXPECT_EQ(ids_with("MergedWithPrevious", {{"Regex", "[bc]"}}, false),
            cut);                                                            // of matches in a row only the first joins
  EXPECT_EQ(ids_with("MergedWithPrevious", {{"String", "b"}}, false), cut);  // ab, c, ab: "b c" cannot merge
}

TEST(BpeTokenizerTest, RefusesTextThatIsNotUtf8WithItsOffset) {
  const auto tokenizer = BpeTokenizer::parse(small_tokenizer().dump(), "small");
  std::vector<int32_t> ids{1};
  BpeEncoder encoder(tokenizer);
  const auto refused_at = [&](const std::string& text) {
    const std::string message = test::error_of([&] { encoder.encode(text, ids); });
    EXPECT_EQ(ids.size(), 1u);
    return message.substr(0, message.find(" ["));
  };
  const std::string what = "encode: the text is not UTF-8 at byte ";
  EXPECT_EQ(refused_at("0123456789\xFF"), what + "10");
  EXPECT_EQ(refused_at("\xC0\x80"), what + "0");           // overlong
  EXPECT_EQ(refused_at("a\xED\xA0\x80"), what + "1");      // surrogate
  EXPECT_EQ(refused_at("a\xF4\x90\x80\x80"), what + "1");  // above U+10FFFF
  EXPECT_EQ(refused_at("abcdefgh\xE2\x82"), what + "8");   // cut off
}

TEST(BpeTokenizerTest, RefusesIdsOutsideTheVocabulary) {
  const auto tokenizer = BpeTokenizer::parse(small_tokenizer().dump(), "small");
  for (const int32_t id : {-1, 260}) {
    const std::string message = test::error_of([&] { tokenizer.decode({id}); });
    EXPECT_EQ(message.find("token id: got " + std::to_string(id) + ", wanted 0 to 259"), 0u) << message;
  }
}

TEST(BpeTokenizerTest, RefusesWhatIsInconsistent) {
  const auto changed = [](const auto& change) {
    json tokenizer = small_tokenizer();
    change(tokenizer);
    return tokenizer;
  };
  expect_refused(changed([](json& t) {
                   t["model"]["vocab"].erase(letter('\n'));
                   t["model"]["vocab"]["nl"] = '\n';
                 }),
                 "byte 10 has no token: \"Ċ\"");
  expect_refused(changed([](json& t) { t["model"]["vocab"]["bc"] = 300; }),
                 "id of \"bc\": got 300, wanted dense ids below 260");
  expect_refused(changed([](json& t) { t["model"]["vocab"]["bc"] = -1; }), "id of \"bc\": got -1");
  expect_refused(changed([](json& t) { t["model"]["vocab"]["bc"] = 257; }), "id 257 is given to both");
  expect_refused(changed([](json& t) { t["added_tokens"][0]["content"] = "abc"; }), "\"abc\" has two ids, 258 and 259");
  expect_refused(changed([](json& t) {
                   t["added_tokens"].push_back({{"id", 97}, {"content", "a"}});
                   t["model"]["vocab"]["bc"] = 260;
                 }),
                 "ids are not dense: no token has id 256, yet there are 260 tokens");
  expect_refused(changed([](json& t) { t["model"]["merges"].push_back("x zz"); }),
                 "merge 3: \"zz\" is not in the vocabulary");
  expect_refused(changed([](json& t) { t["model"]["merges"].push_back("x y"); }),
                 "merge 3: \"xy\" is not in the vocabulary");
  expect_refused(changed([](json& t) { t["model"]["merges"].push_back("a b"); }),
                 "merge 3: \"a\" and \"b\" are merged twice");
  expect_refused(changed([](json& t) { t["model"]["merges"].push_back("abc"); }),
                 "merges: got \"abc\", wanted two tokens");
  expect_refused(changed([](json& t) { t["added_tokens"][0]["content"] = std::string(70'000, 'x'); }),
                 "its piece has 70000 bytes, wanted at most 65536");
  expect_refused(changed([](json& t) { t["added_tokens"][0]["content"] = ""; }), "no text \"content\"");
}

// The small tokenizer with one value set or added.
json with(const char* pointer, const json& value) {
  json tokenizer = small_tokenizer();
  tokenizer[json::json_pointer(pointer)] = value;
  return tokenizer;
}

TEST(BpeTokenizerTest, RefusesModelsAndOptionsByName) {
  for (const char* type : {"Unigram", "WordPiece", "WordLevel"}) {
    expect_refused(with("/model/type", type), "model type \"" + std::string(type) + "\" is not supported");
  }
  expect_refused(with("/model/byte_fallback", true), "model: byte_fallback = true is not supported");
  expect_refused(with("/model/dropout", 0.1), "model: dropout = 0.1 is not supported");
  expect_refused(with("/model/continuing_subword_prefix", "##"), "model: continuing_subword_prefix = \"##\" is not");
  expect_refused(with("/model/end_of_word_suffix", "</w>"), "model: end_of_word_suffix = \"</w>\" is not supported");
  expect_refused(with("/model/novelty", 1), "model: novelty = 1 is not supported");
  expect_refused(with("/novelty", 1), "file: novelty = 1 is not supported");
  for (const char* key : {"lstrip", "rstrip", "single_word", "novelty"}) {
    expect_refused(with(("/added_tokens/0/" + std::string(key)).c_str(), true),
                   "added token \"<|endoftext|>\": " + std::string(key) + " = true is not supported");
  }
  for (const char* type : {"WordPiece", "Metaspace", "BPEDecoder", "Sequence"}) {
    expect_refused(with("/decoder", {{"type", type}}), "decoder: type \"" + std::string(type) + "\" is not supported");
  }
  expect_refused(with("/decoder", nullptr), "decoder: type null is not supported");
}

TEST(BpeTokenizerTest, TakesOptionsThatChangeNothing) {
  json tokenizer = with("/model/dropout", 0.0);
  tokenizer["model"]["unk_token"] = "a";
  tokenizer["model"]["fuse_unk"] = true;
  tokenizer["version"] = "1.0";
  tokenizer["post_processor"] = {{"type", "TemplateProcessing"}};  // adds begin and end tokens, which we leave out
  EXPECT_EQ(encode(tokenizer, "abc"), encode(small_tokenizer(), "abc"));
}

TEST(BpeTokenizerTest, RefusesNormalizersByName) {
  for (const char* type : {"Lowercase", "NFD", "NFKC", "NFKD", "StripAccents", "Strip", "BertNormalizer", "Nmt",
                           "Precompiled", "Replace", "Prepend", "ByteLevel"}) {
    const std::string message = "normalizer: type \"" + std::string(type) + "\" is not supported";
    const json normalizer{{"type", type}};
    expect_refused(with("/normalizer", normalizer), message);
    const json steps = json::array({{{"type", "NFC"}}, normalizer});
    expect_refused(with("/normalizer", {{"type", "Sequence"}, {"normalizers", steps}}), message);
  }
}

TEST(BpeTokenizerTest, RefusesPreTokenizersByName) {
  for (const char* type : {"Metaspace", "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "Punctuation", "Digits",
                           "UnicodeScripts", "CharDelimiterSplit", "FixedLength"}) {
    const std::string message = "pre_tokenizer: type " + std::string(type) + " is not supported";
    expect_refused(with("/pre_tokenizer", {{"type", type}}), message);
    const json steps = json::array({{{"type", type}}, small_tokenizer()["pre_tokenizer"]});
    expect_refused(with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}), message);
  }
  expect_refused(with("/pre_tokenizer", nullptr), "pre_tokenizer: no text \"type\"");
  expect_refused(with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", json::array()}}),
                 "a Sequence without");
  expect_refused(with("/pre_tokenizer/add_prefix_space", true), "ByteLevel with add_prefix_space is not supported");
  expect_refused(with("/pre_tokenizer/use_regex", 1), "use_regex: got 1, wanted true or false");
  expect_refused(with("/pre_tokenizer/novelty", 1), "pre_tokenizer: ByteLevel: novelty = 1 is not supported");

  const auto with_split = [](const json& changes, bool is_last) {
    json split{{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Isolated"}, {"invert", false}};
    split.update(changes);
    json steps = json::array({small_tokenizer()["pre_tokenizer"]});
    steps.insert(is_last ? steps.end() : steps.begin(), split);
    return with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}});
  };
  EXPECT_EQ(encode(with_split(json::object(), false), "abc"), (std::vector<int32_t>{'a', 256}));
  for (const char* behavior : {"MergedWithNext", "Contiguous"}) {
    expect_refused(with_split({{"behavior", behavior}}, false), "Split with behavior " + std::string(behavior));
  }
  expect_refused(with_split({{"novelty", 1}}, false), "pre_tokenizer: Split: novelty = 1 is not supported");
  expect_refused(with_split({{"pattern", "a"}}, false), "pre_tokenizer: no text \"String\"");
  expect_refused(with_split(json::object(), true), "ByteLevel before the last step is not supported");
  expect_refused(with("/pre_tokenizer", {{"type", "Split"}}), "the last step is Split, wanted ByteLevel");
}

TEST(BpeTokenizerTest, RefusesPatternsWhoseMeaningDiffers) {
  const std::vector<std::pair<std::string, std::string>> cases{{"a$", "at character 1: an anchor"},
                                                               {"\\w+", "\\w is not supported"},
                                                               {"[a&&b]", "\"&&\" in a class"},
                                                               {"[[:alpha:]]", "\"[\" in a class"},
                                                               {"[a\\P{L}]", "a negated category in a class"},
                                                               {"[a\\D]", "a negated category in a class"},
                                                               {"\\p{Cn}", "\\p{Cn} is not supported"},
                                                               {"\\p{lu}", "\\p{lu} is not supported"},
                                                               {"\\p{Lc}", "\\p{Lc} is not supported"},
                                                               {"\\p{Yi}", "\\p{Yi} is not supported"},
                                                               {"a{1,3}+", "\"}+\""},
                                                               {"(?<name>a)", "this kind of group"},
                                                               {"a*", "can match an empty text"},
                                                               {"(a", "missing closing parenthesis"},
                                                               {"(*UCP)a", "this kind of group"}};
  for (const auto& [pattern, message] : cases) {
    json tokenizer = small_tokenizer();
    const json split{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, small_tokenizer()["pre_tokenizer"]}}};
    expect_refused(tokenizer, message);
  }
}

TEST(BpeTokenizerTest, TheShippedTokenizerIsWhatItsReadmeSays) {
  const auto tokenizer = BpeTokenizer::load(test::source_file("data/tokenizers/english_8k/tokenizer.json"));
  EXPECT_EQ(tokenizer.vocabulary_size(), 8192);
  EXPECT_EQ(tokenizer.end_of_text(), 0);
  EXPECT_EQ(tokenizer.find_piece("<|pad|>"), 1);
  const std::string text = "The history of Rome began in 753 BC.\n\nIt\u2019s old.<|endoftext|>";
  const std::vector<int32_t> ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_EQ(tokenizer.piece(ids[1]), "Ġhistory");
  EXPECT_EQ(ids.back(), 0);
}

TEST(BpeTokenizerTest, GivesUpOnPatternsThatNeedTooLongAndAppendsNothing) {
  json tokenizer = small_tokenizer();
  const json split{{"type", "Split"}, {"pattern", {{"Regex", "(?:a+)+[bc]"}}}, {"behavior", "Isolated"}};
  tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, small_tokenizer()["pre_tokenizer"]}}};
  const auto loaded = BpeTokenizer::parse(tokenizer.dump(), "small");
  std::vector<int32_t> ids{7};
  BpeEncoder encoder(loaded);
  const std::string text = "fine<|endoftext|>" + std::string(60, 'a') + "x";
  const std::string message = test::error_of([&] { encoder.encode(text, ids); });
  EXPECT_EQ(message.find("split pattern failed on a text of 61 bytes: match limit exceeded"), 0u) << message;
  EXPECT_EQ(ids, std::vector<int32_t>{7});
  encoder.encode("ab", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{7, 257}));
}

TEST(BpeTokenizerTest, RefusesFilesThatAreNotJson) {
  const auto message = [](const std::string& text) { return test::error_of([&] { BpeTokenizer::parse(text, "f"); }); };
  EXPECT_NE(message("{\"model\":").find("tokenizer f: not the JSON of a tokenizer"), std::string::npos);
  EXPECT_NE(message("[]").find("got array, wanted an object"), std::string::npos);
  EXPECT_NE(message("{\"model\":\"\xFF\"}").find("not the JSON"), std::string::npos);
  EXPECT_NE(message(std::string(1'000'000, '[')).find("nested deeper than 64 levels"), std::string::npos);
  for (const std::string path : {"/nowhere/t.json", "/tmp"}) {
    const std::string wanted = path + ": is not there, or a directory; wanted a tokenizer.json";
    EXPECT_EQ(test::error_of([&] { BpeTokenizer::load(path); }).find(wanted), 0u) << path;
  }
}

}  // namespace
}  // namespace engram
