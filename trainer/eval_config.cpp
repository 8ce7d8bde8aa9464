#include "trainer/eval_config.h"

#include <fmt/format.h>

#include <set>

#include "trainer/config.h"
#include "trainer/config_reader.h"
#include "trainer/config_value.h"
#include "trainer/key_suggestion.h"

namespace engram {
namespace {

// The list below the only key. Throws ConfigError where there is none.
std::vector<YamlNode> list_of_tasks(const std::string& path, const std::string& text) {
  const auto fail = [&](const YamlMark& mark, const std::string& what) {
    throw ConfigError(fmt::format("{}:{}:{}: {}", path, mark.line, mark.column, what));
  };
  std::vector<YamlProblem> problems;
  YamlNode root = parse_yaml(text, problems);
  if (!problems.empty()) fail(problems[0].mark, problems[0].text);
  if (root.kind != YamlNode::Kind::kMap || root.keys.empty()) fail(root.mark, "wanted \"tasks:\" and a list below it");
  for (const YamlKey& key : root.keys) {
    if (key.text == "tasks") continue;
    fail(key.mark,
         key.text + ": unknown key" + suggestion_text(nearest_names(key.text, {"tasks"})) + " (known: tasks)");
  }
  if (root.keys.size() > 1) fail(root.keys[1].mark, "tasks: given twice");
  YamlNode& tasks = root.items[0];
  const bool is_list = tasks.kind == YamlNode::Kind::kList;
  if (!is_list || tasks.items.empty()) {
    fail(root.keys[0].mark, fmt::format("tasks: {}; wanted a list of tasks", is_list ? "is empty" : node_text(tasks)));
  }
  for (const YamlNode& task : tasks.items) {
    if (task.kind != YamlNode::Kind::kMap) fail(task.mark, node_text(task) + "; wanted the keys of a task");
  }
  return std::move(tasks.items);
}

}  // namespace

ConfigProblems validate(const EvalTask& c) {
  ConfigProblems problems;
  if (c.name.empty()) problems.push_back({{"name"}, "missing; wanted a name for the task"});
  if (c.file.empty()) problems.push_back({{"file"}, "missing; wanted the file with the items"});
  const auto only_for = [&](const char* key, bool is_given, std::initializer_list<EvalKind> kinds) {
    for (const EvalKind kind : kinds) {
      if (c.kind == kind) return;
    }
    if (is_given) problems.push_back({{key, "kind"}, fmt::format("means nothing for kind {}", enum_name(c.kind))});
  };
  const EvalTask defaults;
  only_for("field", c.field != defaults.field, {EvalKind::kLoss, EvalKind::kLastWord});
  only_for("prompt", c.prompt != defaults.prompt, {EvalKind::kChoice});
  only_for("continuation", c.continuation != defaults.continuation, {EvalKind::kChoice});
  only_for("choices", !c.choices.empty(), {EvalKind::kChoice});
  only_for("templates", !c.templates.empty(), {EvalKind::kCloze});
  only_for("group_by", !c.group_by.empty(), {EvalKind::kChoice, EvalKind::kCloze});
  if (c.kind == EvalKind::kCloze && c.templates.empty()) {
    problems.push_back({{"templates", "kind"}, "missing; wanted a .json file with sentences for each relation"});
  }
  return problems;
}

std::vector<EvalTask> load_eval_tasks(const std::string& path) {
  std::vector<EvalTask> tasks;
  std::set<std::string> names;
  std::string problems;
  for (const YamlNode& node : list_of_tasks(path, read_config_file(path))) {
    ConfigReader<EvalTask> reader;
    reader.add_part(node, path);
    try {
      tasks.push_back(reader.finish());
    } catch (const ConfigError& error) {
      problems += std::string(problems.empty() ? "" : "\n") + error.what();
      continue;
    }
    if (!names.insert(tasks.back().name).second) {
      problems += fmt::format("{}{}:{}:{}: name: \"{}\" names two tasks", problems.empty() ? "" : "\n", path,
                              node.mark.line, node.mark.column, tasks.back().name);
    }
  }
  if (!problems.empty()) throw ConfigError(problems);
  return tasks;
}

}  // namespace engram
