#include <sstream>

#include "data/unicode_nfc.h"
#include "data/unicode_table.h"
#include "data/utf8.h"
#include "tests/data/shared_files.h"
#include "tests/golden.h"
#include "tests/sha256.h"
#include "tests/testing.h"

namespace engram {
namespace {

std::u32string parse_points(const std::string& text) {
  std::u32string points;
  std::istringstream words(text);
  for (std::string word; words >> word;) points.push_back(static_cast<char32_t>(std::stoul(word, nullptr, 16)));
  return points;
}

std::string to_utf8(const std::u32string& points) {
  std::string text;
  for (const char32_t c : points) append_utf8(c, text);
  return text;
}

// The columns of a file in tests/golden whose lines are two lists of hexadecimal code points.
std::vector<std::pair<std::u32string, std::u32string>> golden_points(const std::string& file) {
  std::vector<std::pair<std::u32string, std::u32string>> lines;
  std::ifstream stream(test::source_file("tests/golden/" + file));
  for (std::string line; std::getline(stream, line);) {
    const size_t tab = line.find('\t');
    lines.emplace_back(parse_points(line.substr(0, tab)), parse_points(line.substr(tab + 1)));
  }
  return lines;
}

std::u32string key_form(char32_t c) {
  std::u32string text;
  append_key_form(c, text);
  return text;
}

TEST(UnicodeTableTest, KeyFormsMatchTheGoldenTable) {
  const auto lines = golden_points("code_points.tsv");
  EXPECT_EQ(lines.size(), 8795u);
  for (const auto& [from, to] : lines) EXPECT_EQ(key_form(from.at(0)), to) << std::hex << uint32_t{from[0]};
}

TEST(UnicodeTableTest, KeyFormsOfAllScalarValuesHaveTheGoldenDigest) {
  const auto golden = test::golden("engram_hash.json")["compression"]["code_points"];
  int64_t scalars = 0, changed = 0, changed_bmp = 0, removed = 0;
  size_t longest = 0;
  std::string all;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const std::u32string form = key_form(c);
    const bool is_changed = form != std::u32string(1, c);
    ++scalars;
    changed += is_changed;
    changed_bmp += is_changed && c < 0x10000;
    removed += form.empty();
    longest = std::max(longest, form.size());
    all += to_utf8(form) + '\xFF';
  }
  EXPECT_EQ(scalars, golden["scalars"]);
  EXPECT_EQ(changed, golden["changed"]);
  EXPECT_EQ(changed_bmp, golden["changed_bmp"]);
  EXPECT_EQ(removed, golden["mapped_to_nothing"]);
  EXPECT_EQ(longest, golden["longest_mapping"]);
  EXPECT_EQ(test::sha256(all.data(), all.size()), golden["sha256"]);
}

TEST(UnicodeTableTest, WhiteSpaceIsTheTwentyFiveCodePoints) {
  int count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) count += is_white_space(c);
  EXPECT_EQ(count, 25);
  for (const char32_t c : {0x0Bu, 0x85u, 0xA0u, 0x1680u, 0x200Au, 0x2028u, 0x3000u}) EXPECT_TRUE(is_white_space(c));
  for (const char32_t c : {0x08u, 0x180Eu, 0x200Bu, 0xFEFFu}) EXPECT_FALSE(is_white_space(c));
}

TEST(UnicodeNfcTest, MatchesTheTokenizersPackage) {
  const auto lines = golden_points("nfc.tsv");
  EXPECT_EQ(lines.size(), 1000u);
  std::string all, all_normalized;
  for (const auto& [from, to] : lines) {
    EXPECT_EQ(normalize_nfc(to_utf8(from)), to_utf8(to));
    EXPECT_EQ(normalize_nfc(to_utf8(to)), to_utf8(to));
    all += "plain 0" + to_utf8(from);  // nothing composes with a digit
    all_normalized += "plain 0" + to_utf8(to);
  }
  EXPECT_EQ(normalize_nfc(all), all_normalized);
}

TEST(UnicodeNfcTest, ComposesAndLeavesAlone) {
  EXPECT_EQ(normalize_nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(normalize_nfc("e\u0323\u0302"), "\u1EC7");        // e, dot below, circumflex
  EXPECT_EQ(normalize_nfc("e\u0302\u0323"), "\u1EC7");        // the same in the other order
  EXPECT_EQ(normalize_nfc("\u1112\u1161\u11AB"), "\uD55C");   // Hangul
  EXPECT_EQ(normalize_nfc("\u212B"), "\u00C5");               // angstrom sign
  EXPECT_EQ(normalize_nfc("\u0958"), "\u0915\u093C");         // excluded from composition
  EXPECT_EQ(normalize_nfc("a\u0315\u0300"), "\u00E0\u0315");  // reordered, then composed
  EXPECT_EQ(normalize_nfc("\u0301"), "\u0301");
  EXPECT_EQ(normalize_nfc("caf\u00E9 \u2019 \U0001F600"), "caf\u00E9 \u2019 \U0001F600");
  EXPECT_EQ(normalize_nfc(""), "");
}

TEST(Utf8Test, EveryScalarValueGoesThereAndBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string text;
    append_utf8(c, text);
    const bool is_surrogate = c >= 0xD800 && c <= 0xDFFF;
    ASSERT_EQ(find_invalid_utf8(text), is_surrogate ? std::optional<size_t>(0) : std::nullopt) << uint32_t{c};
    size_t at = 0;
    ASSERT_EQ(next_code_point(text, at), c);
    ASSERT_EQ(at, text.size());
  }
}

TEST(Utf8Test, FindsTheFirstBadByteAtAnyAlignment) {
  for (size_t prefix = 0; prefix < 20; ++prefix) {
    for (const std::string bad :
         {"\x80", "\xC1\x81", "\xE0\x9F\xBF", "\xE2\x82", "\xF0\x8F\x80\x80", "\xF5\x80\x80\x80"}) {
      EXPECT_EQ(find_invalid_utf8(std::string(prefix, 'x') + bad + "tail"), prefix);
    }
  }
}

// The text of a stream that got `pieces`, and of one that got them byte by byte.
std::string streamed(const std::vector<std::string>& pieces) {
  Utf8Stream whole, single;
  std::string text, text_of_bytes;
  for (const std::string& piece : pieces) {
    text += whole.push(piece);
    for (const char byte : piece) text_of_bytes += single.push({&byte, 1});
    EXPECT_FALSE(find_invalid_utf8(text)) << text;
  }
  text += whole.finish();
  EXPECT_EQ(text, text_of_bytes + single.finish());
  return text;
}

TEST(Utf8StreamTest, HoldsBackWhatIsNotYetACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.push("\xAC\xF0\x9F"), "\u20AC");
  EXPECT_EQ(stream.push("\x98"), "");
  EXPECT_EQ(stream.push("\x80z"), "\U0001F600z");
  EXPECT_EQ(stream.finish(), "");
}

// Expected values: Unicode 15, table 3-8, and what the `tokenizers` package (0.23.3) decodes such bytes to.
TEST(Utf8StreamTest, ReplacesEachLongestPartThatIsNoCharacter) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(streamed({"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82", "A"}), bad + bad + bad + bad + bad + bad + bad + bad + "A");
  EXPECT_EQ(streamed({"\xED\xA0\x80\xED\xBF\xBF", "A"}), bad + bad + bad + bad + bad + bad + "A");
  EXPECT_EQ(streamed({"\xF4\x91\x92\x93\xFF", "A\x80\xBF", "B"}), bad + bad + bad + bad + bad + "A" + bad + bad + "B");
  EXPECT_EQ(streamed({"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF", "A"}), bad + bad + bad + bad + "A");
  EXPECT_EQ(streamed({"a", "\xE2\x82"}), "a" + bad);  // the text ends inside a character
  EXPECT_EQ(streamed({"\xE2\x82", "\xE2\x82\xAC"}), bad + "\u20AC");
  EXPECT_EQ(streamed({}), "");
}

}  // namespace
}  // namespace engram
