#include "data/text_file.h"

#include "data/atomic_file.h"
#include "tests/data/compression.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;

// Text that does not compress away: letters without a pattern.
std::string noise(uint32_t size) {
  std::string text;
  uint32_t state = 1;
  for (uint32_t i = 0; i < size; ++i) text.push_back(static_cast<char>('a' + ((state = state * 747796405u + 3) >> 28)));
  return text;
}

struct TextFileTest : ::testing::TestWithParam<std::string> {
  test::TemporaryDirectory directory;
  const std::string path = directory / "a.txt" + GetParam();

  std::string compressed(const std::string& text) { return test::compressed(GetParam(), text); }
  std::string read(const std::string& contents, size_t step = 70001) {
    test::write_file(path, contents);
    TextFile file(path);
    std::string text, part(step, '\0');
    size_t count = 0;
    do text.append(part, 0, count = file.read(part));
    while (count == step);
    EXPECT_EQ(file.read(part), 0u);
    EXPECT_EQ(file.digest(), digest_of_file(path));
    return text;
  }
  std::string error(const std::string& contents) {
    return error_of([&] { read(contents); });
  }
};

TEST_P(TextFileTest, MembersFollowOneAnother) {
  const std::string text = noise(1000003);
  for (const size_t step : {size_t{1} << 20, size_t{70001}}) {
    EXPECT_EQ(read(compressed(text), step), text);
    EXPECT_EQ(read(compressed("ab\n") + compressed("") + compressed(text), step), "ab\n" + text);
  }
  EXPECT_EQ(read(compressed("one byte at a time"), 1), "one byte at a time");
  EXPECT_EQ(read(compressed("")), "");
}

TEST_P(TextFileTest, DataThatEndsEarlyIsRefused) {
  const std::string whole = compressed(noise(40000)), two = compressed("first\n") + whole;
  for (size_t left = 0; left < whole.size(); left += 1 + whole.size() / 100) {
    EXPECT_NE(error(whole.substr(0, left)).find(path + ": the compressed data ends early"), std::string::npos) << left;
  }
  EXPECT_NE(error(whole.substr(0, whole.size() - 1)).find("ends early"), std::string::npos);
  EXPECT_NE(error(two.substr(0, two.size() - 1)).find("ends early"), std::string::npos);
  EXPECT_NE(error(two.substr(0, two.size() - whole.size() + 3)).find("ends early"), std::string::npos);
}

TEST_P(TextFileTest, EveryFlippedByteIsRefusedOrHarmless) {
  const std::string text = noise(300), whole = compressed(text);
  int num_refused = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    std::string got;
    const std::string message = error_of([&] { got = read(flipped); });
    num_refused += !message.empty();
    EXPECT_TRUE(message.empty() ? got == text : message.find(path + ": ") == 0) << at << ": " << message;
  }
  EXPECT_GT(num_refused, static_cast<int>(whole.size()) * 9 / 10);  // the rest are the time and system in a header
}

TEST_P(TextFileTest, OtherDataIsRefused) {
  EXPECT_NE(error(noise(1000)).find(path + ": damaged"), std::string::npos);
  EXPECT_NE(error(compressed("text\n") + "something else").find(path + ": damaged"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Compressions, TextFileTest, ::testing::Values(".gz", ".xz", ".zst"),
                         [](const auto& suite) { return suite.param.substr(1); });

TEST(PlainTextFileTest, IsReadAsItLies) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "a.txt", text = noise(600000) + std::string(3, '\0');
  test::write_file(path, text);
  TextFile file(path);
  std::string got(700000, 'x');
  got.resize(file.read(got));
  EXPECT_EQ(got, text);
  EXPECT_EQ(file.digest(), digest_of_file(path));
  EXPECT_NE(error_of([&] { TextFile none(directory / "none.txt"); }).find("none.txt: open failed: No such file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { TextFile(directory.path()).read(got); }).find("read failed: Is a directory"),
            std::string::npos);
  EXPECT_EQ(without_compression("a.b/c.txt.zst"), "a.b/c.txt");
  EXPECT_EQ(without_compression("c.jsonl"), "c.jsonl");
}

}  // namespace
}  // namespace engram
