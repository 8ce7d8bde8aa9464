#include "trainer/eval_items.h"

#include "data/token_store.h"
#include "tests/data/deep_json.h"
#include "tests/data/temporary_directory.h"
#include "tests/testing.h"

namespace engram {
namespace {

const std::string kTokenizer = std::string(ENGRAM_SOURCE_DIR) + "/data/tokenizers/english_8k/tokenizer.json";

// {"text": "one two"}
constexpr int kRecordInGzip[] = {31,  139, 8,  0,   0,  0,   0,   0,   2,  3,  171, 86, 42,  73,
                                 173, 40,  81, 178, 82, 80,  202, 207, 75, 85, 40,  41, 207, 87,
                                 170, 229, 2,  0,   17, 224, 20,  8,   20, 0,  0,   0};

struct EvalItemsTest : ::testing::Test {
  EvalItems read(const EvalTask& task) { return read_eval_items(task, directory / "", tokenizer); }
  EvalItems read(const EvalTask& task, std::string_view text) {
    test::write_file(directory / task.file, std::string(text));
    return read(task);
  }
  void expect_refused(const EvalTask& task, std::string_view text, const std::string& want) {
    const std::string message = test::error_of([&] { read(task, text); });
    EXPECT_NE(message.find(want), std::string::npos) << message;
  }
  static std::string shown(const ScoredText& text) { return text.context + "|" + text.continuation; }

  test::TemporaryDirectory directory;
  const BpeTokenizer tokenizer = BpeTokenizer::load(kTokenizer);
  const EvalTask choice{.name = "c", .kind = EvalKind::kChoice, .file = "c.jsonl"};
};

TEST_F(EvalItemsTest, ChoicesFillTheForms) {
  EvalTask task = choice;
  task.prompt = "{subject}: {question}\nAnswer:";
  task.group_by = "subject";
  const EvalItems got = read(task, R"({"subject": "s", "question": "q {choice}", "choices": ["a", "b c"], "answer": 1}

{"subject": "t", "question": "r", "choices": ["d", "e", "f"], "answer": 0}
)");
  ASSERT_EQ(got.items.size(), 2u);
  ASSERT_EQ(got.items[0].texts.size(), 2u);
  EXPECT_EQ(shown(got.items[0].texts[1]), "s: q {choice}\nAnswer:| b c");
  EXPECT_EQ(got.items[0].answer, 1);
  EXPECT_EQ(got.items[1].group, "t");
  EXPECT_EQ(shown(got.items[1].texts[2]), "t: r\nAnswer:| f");
  EXPECT_EQ(got.digest.size(), 32u);
}

TEST_F(EvalItemsTest, ABlankIsFilledWithEachChoice) {
  EvalTask task = choice;
  task.prompt = "{before}{choice}";
  task.continuation = "{after}";
  const EvalItems got = read(task, R"({"question": "So _ won.", "choices": ["Ann", "Bob"], "answer": 1})");
  EXPECT_EQ(shown(got.items[0].texts[0]), "So Ann| won.");
  EXPECT_EQ(shown(got.items[0].texts[1]), "So Bob| won.");
  expect_refused(task, R"({"question": "No blank.", "choices": ["Ann", "Bob"], "answer": 1})",
                 "c.jsonl:1: the question has no \"_\" for {before}");
}

TEST_F(EvalItemsTest, ChoicesOfTheTaskTakeTrueAndFalse) {
  EvalTask task = choice;
  task.choices = {"no", "yes"};
  const EvalItems got = read(task, "{\"question\": \"q\", \"answer\": true}\n{\"question\": \"r\", \"answer\": false}");
  EXPECT_EQ(got.items[0].answer, 1);
  EXPECT_EQ(got.items[1].answer, 0);
  EXPECT_EQ(shown(got.items[1].texts[1]), "r| yes");
}

TEST_F(EvalItemsTest, BadRecordsAreRefusedWithTheirLine) {
  const std::string good = "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": 1}\n";
  for (const auto& [record, want] : std::vector<std::pair<std::string, std::string>>{
           {"{\"question\": ", "is no JSON"},
           {"[1]", "is a JSON array, wanted an object"},
           {R"({"question": "q", "choices": ["a", "b"]})", "has no field \"answer\""},
           {R"({"question": 3, "choices": ["a", "b"], "answer": 1})",
            "field \"question\" is a number, wanted a string"},
           {R"({"question": "q", "choices": "a", "answer": 1})", "field \"choices\" is a string, wanted a list"},
           {R"({"question": "q", "choices": ["a", 2], "answer": 1})", "a choice is a number, wanted a string"},
           {R"({"question": "q", "choices": ["a"], "answer": 0})", "1 choices, wanted at least two"},
           {R"({"question": "q", "choices": ["a", " "], "answer": 0})", "the continuation of choice \" \" is blank"},
           {R"({"question": "q", "choices": ["a", "b"], "answer": 2})",
            "field \"answer\" is 2, wanted the number of one"},
           {R"({"question": "q", "choices": ["a", "b"], "answer": -1})", "field \"answer\" is -1"},
           {R"({"question": "q", "choices": ["a", "b"], "answer": "1"})", "field \"answer\" is \"1\""},
           {R"({"question": "q", "choices": ["a", "b"], "answer": )" + test::deep_json() + "}",
            "nested deeper than 64"},
           {"\xff", "byte 0 is no UTF-8"}}) {
    expect_refused(choice, good + "\n" + record, "c.jsonl:3: " + want);
  }
  expect_refused(choice, "\n", "c.jsonl: holds no item for task \"c\"");
  EXPECT_NE(test::error_of([&] { read({.name = "x", .kind = EvalKind::kLoss, .file = "x.txt"}); }).find("x.txt"),
            std::string::npos);
  EvalTask open = choice;
  open.prompt = "{question";
  expect_refused(open, good, "\"{question\": \"{\" without \"}\"");
}

TEST_F(EvalItemsTest, TheLastWordIsBehindTheLastSpace) {
  const EvalTask lines{.name = "l", .kind = EvalKind::kLastWord, .file = "l.txt"};
  const EvalItems got = read(lines, "one two three \n\n a b.\n");
  ASSERT_EQ(got.items.size(), 2u);
  EXPECT_EQ(shown(got.items[0].texts[0]), "one two| three");
  EXPECT_EQ(shown(got.items[1].texts[0]), " a| b.");
  expect_refused(lines, "one two\nalone\n", "l.txt:2: the passage has no space before its last word");

  const EvalTask records{.name = "l", .kind = EvalKind::kLastWord, .file = "l.jsonl", .field = "body"};
  EXPECT_EQ(shown(read(records, R"({"body": "x\ny z"})").items[0].texts[0]), "x\ny| z");
  expect_refused(records, R"({"text": "x y"})", "l.jsonl:1: has no field \"body\"");
  std::string compressed;
  for (const int byte : kRecordInGzip) compressed += static_cast<char>(byte);
  const EvalTask gzip{.name = "l", .kind = EvalKind::kLastWord, .file = "l.jsonl.gz"};
  EXPECT_EQ(shown(read(gzip, compressed).items.at(0).texts[0]), "one| two");
  expect_refused({.name = "l", .kind = EvalKind::kLastWord, .file = "l.json"}, "[\"one two\"]", "unknown kind of file");
}

TEST_F(EvalItemsTest, FactsUseTheFirstSentenceThatEndsWithTheObject) {
  test::write_file(directory / "t.json",
                   R"({"P1": ["[Y] is where [X] is.", "[X] lies in [Y] .", "[X] is in [Y]"], "P2": ["[Y] of [X]"]})");
  const EvalTask task{.name = "f", .kind = EvalKind::kCloze, .file = "f.jsonl", .templates = "t.json"};
  const std::string facts = R"({"relation": "P1", "subject": "Bonn", "object": "Germany"}
{"relation": "P2", "subject": "a", "object": "b"}
{"relation": "P3", "subject": "a", "object": "b"}
)";
  const EvalItems got = read(task, facts);
  ASSERT_EQ(got.items.size(), 1u);
  EXPECT_EQ(got.num_left_out, 2);
  EXPECT_EQ(shown(got.items[0].texts[0]), "Bonn lies in |Germany");
  expect_refused(task, R"({"relation": "P1", "subject": "Bonn"})", "f.jsonl:1: has no field \"object\"");
  test::write_file(directory / "t.json", R"({"P1": ["[X] lies there"]})");
  expect_refused(task, facts, "t.json: P1: \"[X] lies there\" lacks [X] or [Y]");
  test::write_file(directory / "t.json", "{");
  expect_refused(task, facts, "t.json: is no JSON object of relations");
}

TEST_F(EvalItemsTest, FilesThatAreNotThereAreNoFailureOfTheDisk) {
  const auto refusal = [&](const EvalTask& task) {
    try {
      read(task);
    } catch (const IoError& error) {
      ADD_FAILURE() << error.what();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string wanted = ": is not there, or a directory; wanted ";
  std::filesystem::create_directory(directory / "folder.txt");
  for (const char* file : {"none.txt", "none.jsonl", "none.h5", "folder.txt"}) {
    for (const EvalKind kind : {EvalKind::kLoss, EvalKind::kLastWord, EvalKind::kChoice}) {
      EXPECT_EQ(refusal({.name = "n", .kind = kind, .file = file}).find(directory / file + wanted), 0u) << file;
    }
  }
  test::write_file(directory / "f.jsonl", "");
  for (const char* file : {"none.json", "folder.txt"}) {
    const EvalTask facts{.name = "f", .kind = EvalKind::kCloze, .file = "f.jsonl", .templates = file};
    EXPECT_EQ(refusal(facts).find(directory / file + wanted), 0u) << refusal(facts);
  }
}

TEST_F(EvalItemsTest, DocumentsComeFromTextAndFromAStore) {
  const EvalTask text{.name = "t", .kind = EvalKind::kLoss, .file = "t.txt"};
  const EvalItems from_text = read(text, "First one.\n\nIts end.\n<|endoftext|>\nSecond, naïve.\n");
  ASSERT_EQ(from_text.items.size(), 2u);
  EXPECT_EQ(shown(from_text.items[0].texts[0]), "|First one.\n\nIts end.");

  std::vector<std::vector<int32_t>> documents;
  for (const EvalItem& item : from_text.items) documents.push_back(tokenizer.encode(item.texts[0].continuation));
  for (auto& document : documents) document.push_back(*tokenizer.end_of_text());
  TokenStoreWriter writer(directory / "t.h5", {.tokenizer_digest = tokenizer.digest(),
                                               .vocab_size = tokenizer.vocabulary_size(),
                                               .eos_id = *tokenizer.end_of_text(),
                                               .num_tokens = std::ssize(documents[0]) + std::ssize(documents[1]),
                                               .num_documents = 2});
  for (const auto& document : documents) writer.append(document);
  writer.finish();
  const EvalItems from_store = read({.name = "t", .kind = EvalKind::kLoss, .file = "t.h5"});
  ASSERT_EQ(from_store.items.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(shown(from_store.items[i].texts[0]), shown(from_text.items[i].texts[0]));
}

}  // namespace
}  // namespace engram
