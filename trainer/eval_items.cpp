#include "trainer/eval_items.h"

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/json_depth.h"
#include "data/line_reader.h"
#include "data/text_source.h"
#include "data/token_store.h"
#include "data/utf8.h"
#include "kernels/core/check.h"
#include "trainer/run_data.h"

namespace engram {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxLineBytes = int64_t{64} << 20;
constexpr const char* kBlank = " \t\r\n";
constexpr std::string_view kSubject = "[X]", kObject = "[Y]";  // in the sentences of facts

// Calls line(text, "file:line") for each line that is not blank.
void for_each_line(const std::string& path, const std::function<void(const std::string&, const std::string&)>& line) {
  LineReader reader(path, kMaxLineBytes);
  while (reader.next()) {
    if (reader.line().find_first_not_of(kBlank) == std::string::npos) continue;
    const std::string place = path + ":" + std::to_string(reader.number());
    ENGRAM_CHECK(!reader.is_too_long(), place, ": line is longer than ", kMaxLineBytes, " bytes");
    const auto invalid = find_invalid_utf8(reader.line());
    ENGRAM_CHECK(!invalid, place, ": byte ", *invalid, " is no UTF-8");
    line(reader.line(), place);
  }
}

// A line of a .jsonl file.
struct Record {
  Json json;
  std::string place;

  const Json& at(const std::string& field) const {
    const auto found = json.find(field);
    ENGRAM_CHECK(found != json.end(), place, ": has no field \"", field, "\"");
    return *found;
  }
  const std::string& text(const std::string& field) const {
    const Json& value = at(field);
    ENGRAM_CHECK(value.is_string(), place, ": field \"", field, "\" is a ", value.type_name(), ", wanted a string");
    return value.get_ref<const std::string&>();
  }
};

void for_each_record(const std::string& path, const std::function<void(const Record&)>& record) {
  for_each_line(path, [&](const std::string& line, const std::string& place) {
    Record next{Json::parse(line, JsonDepth{place + ": "}, /*allow_exceptions=*/false), place};
    ENGRAM_CHECK(!next.json.is_discarded(), place, ": is no JSON");
    ENGRAM_CHECK(next.json.is_object(), place, ": is a JSON ", next.json.type_name(), ", wanted an object");
    record(next);
  });
}

std::string group_of(const EvalTask& task, const Record& record) {
  return task.group_by.empty() ? std::string() : record.text(task.group_by);
}

// Replaces {choice} by the choice, {before} and {after} by the question's parts beside its blank "_", and {NAME} by the
// record's field of that name.
std::string filled(const std::string& form, const Record& record, const std::string& choice) {
  std::string text;
  size_t at = 0;
  for (size_t open = form.find('{'); open != std::string::npos; open = form.find('{', at)) {
    const size_t close = form.find('}', open);
    ENGRAM_CHECK(close != std::string::npos, "\"", form, "\": \"{\" without \"}\"");
    const std::string name = form.substr(open + 1, close - open - 1);
    text += form.substr(at, open - at);
    if (name == "choice") {
      text += choice;
    } else if (name == "before" || name == "after") {
      const std::string& question = record.text("question");
      const size_t blank = question.find('_');
      ENGRAM_CHECK(blank != std::string::npos, record.place, ": the question has no \"_\" for {", name, "}");
      text += name == "before" ? question.substr(0, blank) : question.substr(blank + 1);
    } else {
      text += record.text(name);
    }
    at = close + 1;
  }
  return text + form.substr(at);
}

std::vector<std::string> choices_of(const EvalTask& task, const Record& record) {
  if (!task.choices.empty()) return task.choices;
  const Json& list = record.at("choices");
  std::vector<std::string> choices;
  ENGRAM_CHECK(list.is_array(), record.place, ": field \"choices\" is a ", list.type_name(), ", wanted a list");
  for (const Json& choice : list) {
    ENGRAM_CHECK(choice.is_string(), record.place, ": a choice is a ", choice.type_name(), ", wanted a string");
    choices.push_back(choice);
  }
  return choices;
}

int64_t answer_of(const Record& record, size_t num_choices) {
  const Json& value = record.at("answer");
  const int64_t answer = value.is_boolean()          ? int64_t{value.get<bool>()}
                         : value.is_number_integer() ? value.get<int64_t>()
                                                     : -1;
  ENGRAM_CHECK(answer >= 0 && answer < static_cast<int64_t>(num_choices), record.place, ": field \"answer\" is ",
               value.dump(), ", wanted the number of one of ", num_choices, " choices, from 0");
  return answer;
}

std::vector<EvalItem> read_choices(const EvalTask& task, const std::string& path) {
  std::vector<EvalItem> items;
  for_each_record(path, [&](const Record& record) {
    const std::vector<std::string> choices = choices_of(task, record);
    ENGRAM_CHECK(choices.size() >= 2, record.place, ": ", choices.size(), " choices, wanted at least two");
    EvalItem item{.texts = {}, .answer = answer_of(record, choices.size()), .group = group_of(task, record)};
    for (const std::string& choice : choices) {
      item.texts.push_back({filled(task.prompt, record, choice), filled(task.continuation, record, choice)});
      ENGRAM_CHECK(item.texts.back().continuation.find_first_not_of(kBlank) != std::string::npos, record.place,
                   ": the continuation of choice \"", choice, "\" is blank");
    }
    items.push_back(std::move(item));
  });
  return items;
}

std::vector<EvalItem> read_passages(const EvalTask& task, const std::string& path) {
  std::vector<EvalItem> items;
  const auto add = [&](std::string text, const std::string& place) {
    text.erase(text.find_last_not_of(kBlank) + 1);
    const size_t space = text.find_last_of(kBlank);
    ENGRAM_CHECK(space != std::string::npos, place, ": the passage has no space before its last word");
    items.push_back({.texts = {{text.substr(0, space), text.substr(space)}}});
  };
  if (holds_json_lines(path)) {
    for_each_record(path, [&](const Record& record) { add(record.text(task.field), record.place); });
  } else {
    for_each_line(path, add);
  }
  return items;
}

std::vector<EvalItem> read_documents(const EvalTask& task, const std::string& path, const BpeTokenizer& tokenizer) {
  std::vector<EvalItem> items;
  const auto add = [&](std::string_view text) { items.push_back({.texts = {{"", std::string(text)}}}); };
  if (!path.ends_with(".h5")) {
    TextSourceOptions options;
    options.json_field = task.field;
    for_each_document({path}, options, [&](std::string_view text, const TextPlace&) { add(text); });
    return items;
  }
  const TokenStore store = open_store(path, tokenizer);
  for (size_t i = 0; i + 1 < store.doc_offsets().size(); ++i) {
    const auto begin = static_cast<int64_t>(store.doc_offsets()[i]);
    std::vector<int32_t> tokens(store.doc_offsets()[i + 1] - store.doc_offsets()[i]);
    std::vector<uint8_t> starts(tokens.size());
    store.read(begin, tokens, starts);
    if (!tokens.empty() && tokens.back() == store.header().eos_id) tokens.pop_back();
    if (!tokens.empty()) add(tokenizer.decode(tokens));
  }
  return items;
}

// The first sentence of each relation that ends with the object; relations without one are missing.
std::map<std::string, std::string> read_sentences(const std::string& path) {
  check_is_file(path, "a .json file with sentences for each relation; --root says where paths begin");
  const Json json = Json::parse(contents_of_file(path), nullptr, /*allow_exceptions=*/false);
  ENGRAM_CHECK(json.is_object(), path, ": is no JSON object of relations");
  std::map<std::string, std::string> sentences;
  for (const auto& [relation, list] : json.items()) {
    ENGRAM_CHECK(list.is_array(), path, ": ", relation, " is a ", list.type_name(), ", wanted a list of sentences");
    for (const Json& sentence : list) {
      ENGRAM_CHECK(sentence.is_string(), path, ": ", relation, ": a sentence is a ", sentence.type_name());
      const std::string& text = sentence.get_ref<const std::string&>();
      const size_t object = text.find(kObject);
      ENGRAM_CHECK(text.find(kSubject) != std::string::npos && object != std::string::npos, path, ": ", relation,
                   ": \"", text, "\" lacks ", kSubject, " or ", kObject);
      const bool is_last = text.find_first_not_of(" .!?", object + kObject.size()) == std::string::npos;
      if (is_last) sentences.emplace(relation, text.substr(0, object));
    }
  }
  return sentences;
}

EvalItems read_facts(const EvalTask& task, const std::string& path, const std::string& templates) {
  const std::map<std::string, std::string> sentences = read_sentences(templates);
  EvalItems result;
  for_each_record(path, [&](const Record& record) {
    const auto found = sentences.find(record.text("relation"));
    if (found == sentences.end()) {
      ++result.num_left_out;
      return;
    }
    std::string context = found->second;
    context.replace(context.find(kSubject), kSubject.size(), record.text("subject"));
    ENGRAM_CHECK(!record.text("object").empty(), record.place, ": field \"object\" is empty");
    result.items.push_back({.texts = {{context, record.text("object")}}, .answer = 0, .group = group_of(task, record)});
  });
  return result;
}

// `path` below `root` where it is relative.
std::string path_below(const std::string& root, const std::string& path) {
  return (std::filesystem::path(root) / path).lexically_normal();
}

}  // namespace

EvalItems read_eval_items(const EvalTask& task, const std::string& root, const BpeTokenizer& tokenizer) {
  const std::string path = path_below(root, task.file);
  check_is_file(path, "the file of task \"" + task.name + "\"; --root says where paths begin");
  EvalItems result;
  switch (task.kind) {
    case EvalKind::kLoss:
      result.items = read_documents(task, path, tokenizer);
      break;
    case EvalKind::kLastWord:
      result.items = read_passages(task, path);
      break;
    case EvalKind::kChoice:
      result.items = read_choices(task, path);
      break;
    case EvalKind::kCloze:
      result = read_facts(task, path, path_below(root, task.templates));
      break;
  }
  ENGRAM_CHECK(!result.items.empty(), path, ": holds no item for task \"", task.name, "\"");
  result.digest = digest_of_file(path);
  return result;
}

}  // namespace engram
