#include "trainer/eval_config.h"

#include "tests/data/temporary_directory.h"
#include "tests/testing.h"
#include "tests/trainer/config_testing.h"

namespace engram {
namespace {

struct EvalConfigTest : ::testing::Test {
  std::vector<EvalTask> load(std::string_view text) {
    test::write_file(directory / "t.yaml", std::string(text));
    return load_eval_tasks(directory / "t.yaml");
  }
  // What is said to the text, without the directory.
  std::string refused(std::string_view text) {
    std::string message = test::refusal([&] { load(text); });
    const std::string path = directory / "";
    for (size_t at = message.find(path); at != std::string::npos; at = message.find(path)) {
      message.erase(at, path.size());
    }
    return message;
  }
  test::TemporaryDirectory directory;
};

constexpr std::string_view kGood = R"(tasks:
  - {name: wiki, kind: loss, file: wiki.txt}
  - name: yes_or_no
    kind: choice
    file: boolq.jsonl
    choices: ["no", "yes"]
    prompt: "{question}?\nAnswer:"
  - {name: facts, kind: cloze, file: facts.jsonl, templates: t.json, group_by: relation}
)";

TEST_F(EvalConfigTest, ReadsYaml) {
  const std::vector<EvalTask> tasks = load(kGood);
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0].kind, EvalKind::kLoss);
  EXPECT_EQ(tasks[0].field, "text");
  EXPECT_EQ(tasks[1].choices, (std::vector<std::string>{"no", "yes"}));
  EXPECT_EQ(tasks[1].prompt, "{question}?\nAnswer:");
  EXPECT_EQ(tasks[1].continuation, " {choice}");
  EXPECT_EQ(tasks[2].group_by, "relation");
}

TEST_F(EvalConfigTest, ReadsJson) {
  const std::vector<EvalTask> tasks = load(R"({"tasks": [{"name": "a", "kind": "last_word", "file": "a.jsonl"}]})");
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].kind, EvalKind::kLastWord);
}

TEST_F(EvalConfigTest, TheFileThatShipsIsRead) {
  EXPECT_GT(load_eval_tasks(std::string(ENGRAM_SOURCE_DIR) + "/configs/evaluation.yaml").size(), 8u);
}

TEST_F(EvalConfigTest, EveryProblemIsToldWithItsPlace) {
  const std::string message = refused(R"(tasks:
  - {name: a, kind: los, file: a.txt}
  - {name: b, kind: loss, flie: b.txt}
  - {name: c, kind: loss}
  - {name: d, kind: cloze, file: d.jsonl}
  - {name: e, kind: loss, file: e.txt, choices: [x, y]}
  - {kind: loss, file: f.txt}
)");
  for (const char* want : {"t.yaml:2:21: kind: \"los\" is none of loss, last_word, choice, cloze",
                           "t.yaml:3:27: flie: unknown key; did you mean \"file\"?", "t.yaml:4:5: file: missing",
                           "t.yaml:5:21: templates: missing", "t.yaml:6:49: choices: means nothing for kind loss",
                           "t.yaml:7:5: name: missing"}) {
    EXPECT_NE(message.find(want), std::string::npos) << want << "\nis not in\n" << message;
  }
}

TEST_F(EvalConfigTest, TwoTasksOfOneNameAreRefused) {
  EXPECT_NE(refused("tasks:\n  - {name: a, kind: loss, file: a.txt}\n  - {name: a, kind: loss, file: b.txt}\n")
                .find("t.yaml:3:5: name: \"a\" names two tasks"),
            std::string::npos);
}

TEST_F(EvalConfigTest, AnythingButAListOfTasksIsRefused) {
  const auto expect = [&](std::string_view text, const char* want) {
    EXPECT_NE(refused(text).find(want), std::string::npos) << refused(text);
  };
  expect("[1, 2]", "t.yaml:1:1: wanted \"tasks:\" and a list below it");
  expect("tasks: []", "t.yaml:1:1: tasks: is empty; wanted a list of tasks");
  expect("tasks: 3", "t.yaml:1:1: tasks: \"3\"; wanted a list of tasks");
  expect("tasks: [3]", "t.yaml:1:9: \"3\"; wanted the keys of a task");
  expect("task: []", "t.yaml:1:1: task: unknown key; did you mean \"tasks\"? (known: tasks)");
  expect("tasks: [{name: a, kind: loss, file: b}]\ntasks: []", "t.yaml:2:1: tasks: given twice");
  expect("tasks: [", "t.yaml:");
  EXPECT_NE(test::refusal([&] { load_eval_tasks(directory / "none.yaml"); }).find("none.yaml: cannot be opened"),
            std::string::npos);
}

}  // namespace
}  // namespace engram
