#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "model/fields.h"

// What a file of evaluation tasks can say. docs/evaluation.md explains the kinds.
namespace engram {

enum class EvalKind { kLoss, kLastWord, kChoice, kCloze };
constexpr auto enum_names(EvalKind) { return std::array<std::string_view, 4>{"loss", "last_word", "choice", "cloze"}; }

struct EvalTask {
  std::string name;
  EvalKind kind = EvalKind::kLoss;
  std::string file;
  std::string field = "text";
  std::string prompt = "{question}";
  std::string continuation = " {choice}";
  std::vector<std::string> choices = {};
  std::string templates = {};
  std::string group_by = {};
};
ConfigProblems validate(const EvalTask& task);

template <class Visitor>
void visit_fields(EvalTask& c, Visitor&& field) {
  field("name", c.name, "name in the results, one for each task");
  field("kind", c.kind, "what is measured: loss of texts, last words, choices by likelihood, facts");
  field("file", c.file, "items: .jsonl; loss: also a token store (.h5) or .txt; last_word: also .txt, one a line");
  field("field", c.field, "loss, last_word: field of a .jsonl line that holds the text");
  field("prompt", c.prompt, "choice: text before what is scored; {question} or any other field, {choice}, ...");
  field("continuation", c.continuation, "choice: text that is scored, once for each choice");
  field("choices", c.choices, "choice: those of every item, for files without; answers true and false are 1 and 0");
  field("templates", c.templates, "cloze: .json file with sentences for each relation");
  field("group_by", c.group_by, "choice, cloze: field by whose values results are also told");
}

// Reads `tasks:` and the list below it, YAML or JSON. Throws ConfigError with every problem and its place.
std::vector<EvalTask> load_eval_tasks(const std::string& path);

}  // namespace engram
