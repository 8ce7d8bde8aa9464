#include "trainer/eval_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "trainer/version.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kRow = "{:<20} {:>7} {:<15} {:>10}  {:<22} {:>10}\n";

// Names of files are bytes of any kind.
std::string dumped(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string number(double value) { return fmt::format("{:#.4g}", value); }

Json measures_json(const std::vector<EvalMeasure>& measures) {
  Json json = Json::object();
  for (const EvalMeasure& m : measures) {
    json[m.name] = {{"value", m.value},
                    {"low", m.interval.low},
                    {"high", m.interval.high},
                    {"interval", fmt::format("{}, 95 %", m.method)},
                    {"chance", m.chance}};
  }
  return json;
}

Json result_json(const EvalResult& result) {
  Json json{{"name", result.task.name},     {"kind", enum_name(result.task.kind)},
            {"file", result.task.file},     {"file_digest", result.file_digest},
            {"items", result.items.size()}, {"left_out", result.num_left_out},
            {"cut", result.num_cut},        {"measures", measures_json(result.measures)}};
  for (const EvalGroup& group : result.groups) {
    json["groups"][group.name] = {{"items", group.num_items}, {"measures", measures_json(group.measures)}};
  }
  return json;
}

}  // namespace

std::string eval_table_head() {
  return fmt::format(kRow, "task", "items", "measure", "value", "95 % interval", "chance");
}

std::string eval_table_lines(const EvalResult& result) {
  std::string text;
  for (const EvalMeasure& m : result.measures) {
    const bool is_first = text.empty();
    const std::string interval =
        fmt::format("{} to {} {}", number(m.interval.low), number(m.interval.high), m.method[0]);
    text += fmt::format(kRow, is_first ? result.task.name : "", is_first ? fmt::to_string(result.items.size()) : "",
                        m.name, number(m.value), interval, number(m.chance));
  }
  if (result.num_cut > 0) text += fmt::format("  {} items cut from the left\n", result.num_cut);
  if (result.num_left_out > 0) text += fmt::format("  {} items left out\n", result.num_left_out);
  return text;
}

std::string eval_table_foot() { return "95 % intervals: w Wilson's, b bootstrap over items\n"; }

std::string eval_json(const EvalSubject& subject, const std::vector<EvalResult>& results) {
  Json json{{"program", fmt::format("engram {}, commit {}", version(), commit())},
            {"checkpoint", subject.checkpoint},
            {"checkpoint_digest", subject.checkpoint_digest},
            {"step", subject.step},
            {"tokenizer_digest", subject.tokenizer_digest},
            {"device", subject.device},
            {"precision", subject.precision},
            {"tasks", Json::array()}};
  for (const EvalResult& result : results) json["tasks"].push_back(result_json(result));
  return dumped(json, 2);
}

std::string eval_item_lines(const std::vector<EvalResult>& results) {
  std::string lines;
  for (const EvalResult& result : results) {
    for (size_t i = 0; i < result.items.size(); ++i) {
      Json json{{"task", result.task.name},
                {"kind", enum_name(result.task.kind)},
                {"item", i},
                {"answer", result.items[i].answer}};
      for (const TextScore& text : result.items[i].texts) {
        json["nats"].push_back(text.nats);
        json["tokens"].push_back(text.num_tokens);
        json["bytes"].push_back(text.num_bytes);
        json["worst_rank"].push_back(text.worst_rank);
      }
      lines += dumped(json, -1);
    }
  }
  return lines;
}

}  // namespace engram
