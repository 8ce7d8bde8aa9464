#include "data/text_source.h"

#include "tests/data/compression.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

using test::error_of;
using Documents = std::vector<std::string>;

struct TextSourceTest : ::testing::Test {
  test::TemporaryDirectory directory;
  TextSourceOptions options;
  TextSourceReport report;
  std::vector<int64_t> lines;  // where each document begins

  Documents read(const std::string& name, const std::string& contents) {
    test::write_file(directory / name, contents);
    return read_file(name);
  }
  Documents read_file(const std::string& name) {
    Documents documents;
    lines.clear();
    report = for_each_document({directory / name}, options, [&](std::string_view text, const TextPlace& place) {
      documents.emplace_back(text);
      lines.push_back(place.line);
      EXPECT_EQ(place.file, directory / name);
    });
    EXPECT_EQ(report.num_documents, static_cast<int64_t>(documents.size()));
    return documents;
  }
  // Under kStop the Error says "<file>:<words>", under kSkip the other documents come and the record is counted.
  void expect_bad(const std::string& name, const std::string& contents, const std::string& words,
                  const Documents& rest) {
    options.on_bad_record = BadRecordPolicy::kStop;
    const std::string error = error_of([&] { read(name, contents); });
    EXPECT_NE(error.find(directory / name + ":" + words), std::string::npos) << error;
    EXPECT_NE(error.find("`data build --on-error skip`"), std::string::npos) << error;
    options.on_bad_record = BadRecordPolicy::kSkip;
    EXPECT_EQ(read(name, contents), rest);
    EXPECT_EQ(report.num_bad_records, 1);
    EXPECT_EQ(report.first_bad_record.find(directory / name + ":" + words), 0u) << report.first_bad_record;
  }
};

TEST_F(TextSourceTest, TextFileSplitsAtSeparatorLines) {
  EXPECT_EQ(read("a.txt", "one\ntwo\n<|endoftext|>\n\n three \n\nx\n<|endoftext|>\n"),
            (Documents{"one\ntwo", " three \n\nx"}));
  EXPECT_EQ(report.num_empty, 0);
  EXPECT_EQ(report.num_bytes, 7 + 10);
  EXPECT_EQ(read("a.txt", "a\r\n<|endoftext|>\r\nb"), (Documents{"a", "b"}));
  EXPECT_EQ(read("a.txt", "in <|endoftext|> line\n"), (Documents{"in <|endoftext|> line"}));
  EXPECT_EQ(read("a.txt", "<|endoftext|>\n\n<|endoftext|>\nx\n<|endoftext|>"), (Documents{"x"}));
  EXPECT_EQ(report.num_empty, 2);
}

TEST_F(TextSourceTest, TextFileWithoutSeparatorIsOneDocument) {
  EXPECT_EQ(read("a.txt", "\n\none\n\ntwo\n\n"), (Documents{"one\n\ntwo"}));
  EXPECT_EQ(read("a.txt", "\xef\xbb\xbfwith mark"), (Documents{"with mark"}));
  EXPECT_EQ(read("a.txt", ""), Documents{});
  EXPECT_EQ(report.num_empty, 1);
}

TEST_F(TextSourceTest, LongLinesCrossTheReadBuffer) {
  const std::string line(1000003, 'x');
  EXPECT_EQ(read("a.txt", line + "\n<|endoftext|>\n" + line + "y"), (Documents{line, line + "y"}));
}

TEST_F(TextSourceTest, JsonLinesGiveTheirField) {
  EXPECT_EQ(read("a.jsonl", "{\"text\": \"a\\nb\"}\n\n{\"id\": 3, \"text\": \"\\u00e9\"}\r\n{\"text\": \"\"}"),
            (Documents{"a\nb", "\xc3\xa9"}));
  EXPECT_EQ(report.num_empty, 1);
  options.json_field = "body";
  EXPECT_EQ(read("a.jsonl", "{\"text\": 1, \"body\": \"b\"}"), (Documents{"b"}));
}

TEST_F(TextSourceTest, CompressedFilesReadAsPlainOnes) {
  const std::string line(300000, 'z');
  for (const std::string suffix : {".gz", ".xz", ".zst"}) {
    test::write_file(directory / "a.txt" + suffix,
                     test::compressed(suffix, "one\n<|endoftext|>\n") + test::compressed(suffix, line + "\n"));
    EXPECT_EQ(read_file("a.txt" + suffix), (Documents{"one", line}));
    test::write_file(directory / "a.jsonl" + suffix, test::compressed(suffix, "{\"text\": \"a\"}\n"));
    EXPECT_EQ(read_file("a.jsonl" + suffix), (Documents{"a"}));
    options.on_bad_record = BadRecordPolicy::kSkip;  // a damaged file is no bad record
    const std::string whole = test::read_file(directory / "a.jsonl" + suffix);
    const std::string cut = error_of([&] { read("a.jsonl" + suffix, whole.substr(0, whole.size() - 1)); });
    EXPECT_NE(cut.find("a.jsonl" + suffix + ": the compressed data ends early"), std::string::npos) << cut;
  }
}

TEST_F(TextSourceTest, BadJsonRecordsNameTheirLine) {
  const std::string good = "{\"text\": \"good\"}\n";
  expect_bad("a.jsonl", good + "{\"text\": \n" + good, "2: is no JSON", {"good", "good"});
  expect_bad("a.jsonl", "\n" + good + "{\"txt\": \"x\"}\n", "3: has no field \"text\"", {"good"});
  expect_bad("a.jsonl", "{\"text\": 5}\n" + good, "1: field \"text\" is a number, wanted a string", {"good"});
  expect_bad("a.jsonl", "[1]\n" + good, "1: is a JSON array, wanted an object", {"good"});
  expect_bad("a.jsonl", good + "{\"text\": \"\xff\"}\n", "2: byte 10 is no UTF-8", {"good"});
  expect_bad("a.jsonl", good + "{\"text\": \"\\ud800\"}\n", "2: is no JSON", {"good"});
  expect_bad("a.jsonl", good + std::string("{\"text\": \"\0\"}\n", 14) + good, "2: is no JSON", {"good", "good"});
  expect_bad("a.jsonl", good + "{\"text\": \"cut off", "2: is no JSON", {"good"});
  expect_bad("a.jsonl", good + "{\"text\": \"x\", \"n\": 1e999}\n", "2: is no JSON", {"good"});
  expect_bad("a.jsonl", "\xff\xfe{\0" + good, "1: byte 0 is no UTF-8", {});
  options.max_line_bytes = 20;
  expect_bad("a.jsonl", good + "{\"text\": \"much too long\"}\n" + good, "2: line is longer than 20 bytes",
             {"good", "good"});
}

TEST_F(TextSourceTest, PlacesAreTheFirstLines) {
  read("a.txt", "one\ntwo\n<|endoftext|>\n\nthree\n<|endoftext|>\n<|endoftext|>\nx");
  EXPECT_EQ(lines, (std::vector<int64_t>{1, 4, 8}));
  read("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n");
  EXPECT_EQ(lines, (std::vector<int64_t>{1, 3}));
}

TEST_F(TextSourceTest, OddTextIsTextAllTheSame) {
  const std::string zero("a\0b", 3);
  EXPECT_EQ(read("a.txt", zero + "\n<|endoftext|>\n" + zero), (Documents{zero, zero}));
  EXPECT_EQ(read("a.jsonl", "{\"text\": \"a\\u0000b\"}"), (Documents{zero}));
  EXPECT_EQ(read("a.txt", "a\r\nb\r\n<|endoftext|>\r\nc\rd\r\n"), (Documents{"a\r\nb", "c\rd"}));
  EXPECT_EQ(read("a.jsonl", "{\"text\": \"a\"}\r\n{\"text\": \"b\"}"), (Documents{"a", "b"}));
  EXPECT_EQ(read("a.jsonl", "{\"text\": \"first\", \"more\": {\"text\": [1]}, \"text\": \"last\"}"),
            (Documents{"last"}));
}

TEST_F(TextSourceTest, DeepNestingIsPassedOver) {
  const std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  EXPECT_EQ(read("a.jsonl", "{\"text\": \"a\", \"more\": " + deep + "}\n"), (Documents{"a"}));
}

TEST_F(TextSourceTest, LinesOfMoreThan64MiBAreBad) {
  const std::string good = "{\"text\": \"good\"}\n";
  const auto line = [](size_t size) { return "{\"text\": \"" + std::string(size - 12, 'x') + "\"}"; };
  EXPECT_EQ(read("a.jsonl", good + line(size_t{64} << 20) + "\n" + good).size(), 3u);
  expect_bad("a.jsonl", good + line((size_t{64} << 20) + 1) + "\n" + good, "2: line is longer than 67108864 bytes",
             {"good", "good"});
}

TEST_F(TextSourceTest, BadTextTakesItsDocumentWithIt) {
  expect_bad("a.txt", "a\n<|endoftext|>\nb\n\xc3(\nc\n\xff\n<|endoftext|>\nd\n", "4: byte 0 is no UTF-8", {"a", "d"});
  expect_bad("a.txt", "whole \xed\xa0\x80 file\n", "1: byte 6 is no UTF-8", {});
  options.max_line_bytes = 15;
  expect_bad("a.txt", "a\n<|endoftext|>\n0123456789abcdef\n", "3: line is longer than 15 bytes", {"a"});
}

TEST_F(TextSourceTest, DirectoriesExpandInOrderOfNames) {
  for (const std::string name : {"b.txt", "a.jsonl", "c.txt.gz", "d.md"}) test::write_file(directory / name, "");
  EXPECT_EQ(expand_inputs({directory / "b.txt", directory.path()}),
            (Documents{directory / "b.txt", directory / "a.jsonl", directory / "b.txt", directory / "c.txt.gz"}));
  EXPECT_NE(error_of([&] { expand_inputs({directory / "none"}); }).find("none: no such file or directory"),
            std::string::npos);
  std::filesystem::create_directory(directory / "empty");
  EXPECT_NE(error_of([&] { expand_inputs({directory / "empty"}); }).find("empty: holds no .txt or .jsonl"),
            std::string::npos);
  EXPECT_NE(error_of([&] { read_file("d.md"); }).find("d.md: unknown kind of file"), std::string::npos);
  EXPECT_NE(error_of([&] { read_file("gone.txt"); }).find("gone.txt: open failed: No such file"), std::string::npos);
}

}  // namespace
}  // namespace engram
