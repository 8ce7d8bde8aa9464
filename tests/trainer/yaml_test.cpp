#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/trainer/config_testing.h"
#include "trainer/yaml_tree.h"

namespace engram {
namespace {

using test::refused_file;

std::string small_config_with(std::string_view line) {
  return std::string(test::kSmallConfig) + std::string(line) + "\n";
}

// The one problem of a text, as "line:column: what"; "" where there is none.
std::string problem_of(std::string_view text) {
  std::vector<YamlProblem> problems;
  parse_yaml(text, problems);
  std::string all;
  for (const YamlProblem& problem : problems) {
    all += std::to_string(problem.mark.line) + ":" + std::to_string(problem.mark.column) + ": " + problem.text + "\n";
  }
  return all;
}

TEST(Yaml, RefusesWhatTheSubsetLacks) {
  EXPECT_EQ(problem_of("a: &x 1\n"), "1:4: anchors are not supported; write the value out\n");
  EXPECT_EQ(problem_of("a: &x {b: 1}\n"), "1:4: anchors are not supported; write the value out\n");
  EXPECT_EQ(problem_of("a: &x\n"), "1:4: anchors are not supported; write the value out\n");
  EXPECT_EQ(
      problem_of("a: &x 1\nb: *x\n"),
      "1:4: anchors are not supported; write the value out\n2:4: aliases are not supported; write the value out\n");
  EXPECT_EQ(problem_of("a: !!int 1\n"), "1:4: tags are not supported\n");
  EXPECT_EQ(problem_of("a: !mine [1]\n"), "1:4: tags are not supported\n");
  EXPECT_EQ(problem_of("a: !mine {b: 1}\n"), "1:4: tags are not supported\n");
  EXPECT_EQ(problem_of("a: ! b\n"), "1:4: tags are not supported\n");
  EXPECT_EQ(problem_of("[a, b]: 1\n"), "1:1: a key must be plain text\n");
}

TEST(Yaml, RefusesSecondDocumentsAndTrailingText) {
  EXPECT_NE(problem_of("a: 1\n---\nb: 2\n").find("a second document"), std::string::npos);
  EXPECT_NE(problem_of("a: 1\n...\nb: 2\n"), "");
  EXPECT_NE(problem_of("{a: 1} b\n"), "");
  EXPECT_NE(problem_of("{a: 1}\nb: 2\n"), "");
  EXPECT_EQ(problem_of("---\na: 1\n"), "");
}

TEST(Yaml, RefusesEmptyText) {
  for (const char* text : {"", "\n\n", "# only a comment\n"}) EXPECT_NE(problem_of(text), "") << text;
  EXPECT_NE(refused_file("").find("c.yaml: is empty"), std::string::npos);
  EXPECT_NE(refused_file("- a\n- b\n").find("c.yaml:1:1: wanted keys and values at the top"), std::string::npos);
}

TEST(Yaml, RefusesBytesThatAreNoText) {
  EXPECT_EQ(problem_of("a: 1\nb: \xff\n"), "2:4: is not valid UTF-8\n");
  EXPECT_EQ(problem_of("a: \xc0\x80\n"), "1:4: is not valid UTF-8\n");
  EXPECT_EQ(problem_of(std::string_view("a: \0\n", 5)), "1:4: control character 0x00\n");
  EXPECT_EQ(problem_of("a: \x1b[31m\n"), "1:4: control character 0x1b\n");
  EXPECT_EQ(problem_of("\xEF\xBB\xBF"
                       "a: 1\n"),
            "1:1: starts with a byte order mark; remove it\n");
  EXPECT_EQ(problem_of("a: \xC3\xA9 \xE6\x97\xA5\r\nb: 2\r\n"), "");
}

TEST(Yaml, SyntaxErrorsHaveAPlace) {
  EXPECT_EQ(problem_of("a: 1\nb: [1, 2\n").find("2:1: not valid YAML: "), 0u);
  EXPECT_EQ(problem_of("a: 1\n\tb: 2\n").find("2:"), 0u);
  for (const char* text : {"a: \"unfinished\n", "a: 'unfinished\nb: 2\n\n", "a: \"unfinished\r\n", "a: 'b\n \n"}) {
    EXPECT_NE(problem_of(text).find("not valid YAML"), std::string::npos) << text;
  }
  EXPECT_NE(refused_file("model: {hidden: 64\n").find("not valid YAML"), std::string::npos);
}

TEST(Yaml, Limits) {
  EXPECT_NE(problem_of(std::string(kMaxYamlBytes + 1, ' ')).find("wanted at most 1000000"), std::string::npos);
  std::string deep, many = "a: [";
  for (size_t i = 0; i < 100'000; ++i) deep += '[';
  EXPECT_NE(problem_of(deep).find("nested deeper than 64 levels"), std::string::npos);
  for (size_t i = 0; i < 100'001; ++i) many += "1,";
  EXPECT_NE(problem_of(many + "]\n").find("more than 100000 values"), std::string::npos);
  std::string blocks;
  for (size_t i = 0; i < 70; ++i) blocks += std::string(i, ' ') + "a:\n";
  EXPECT_NE(problem_of(blocks).find("nested deeper than 64 levels"), std::string::npos);
}

TEST(Yaml, HostileKeysAreCheapAndShortInMessages) {
  const auto start = std::chrono::steady_clock::now();
  const std::string long_key(1000, 'x');
  EXPECT_LT(refused_file(small_config_with(long_key + ": 1")).size(), 400u);
  std::string many(test::kSmallConfig);
  for (int i = 0; i < 20'000; ++i) many += "key_" + std::to_string(i) + ": 1\n";
  const std::string message = refused_file(many);
  EXPECT_NE(message.find("... and 19950 more problems"), std::string::npos);
  EXPECT_LT(message.size(), 20'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Yaml, KeepsTheTextAsWritten) {
  std::vector<YamlProblem> problems;
  const YamlNode root = parse_yaml("a: 010\nb: \"010\"\nc: [x, 'y']\nd:\n  e: ~\na: again\n", problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(root.keys.size(), 5u);
  EXPECT_EQ(root.keys[4].text, "a");
  EXPECT_EQ(root.keys[4].mark.line, 6);
  EXPECT_EQ(root.items[0].text, "010");
  EXPECT_TRUE(root.items[0].plain);
  EXPECT_FALSE(root.items[1].plain);
  EXPECT_EQ(root.items[2].items.size(), 2u);
  EXPECT_EQ(root.items[3].items[0].kind, YamlNode::Kind::kNull);
}

}  // namespace
}  // namespace engram
