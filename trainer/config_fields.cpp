#include "trainer/config_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "trainer/scale_model.h"

namespace engram {
namespace {

std::string range_text(const Range* range) {
  return range == nullptr ? std::string() : fmt::format(" in [{}, {}]", range->low, range->high);
}

std::string type_text(const int64_t&, const Range* range) { return "an integer" + range_text(range); }
std::string type_text(const double&, const Range* range) { return "a number" + range_text(range); }
std::string type_text(const bool&, const Range*) { return "true or false"; }
std::string type_text(const std::string&, const Range*) { return "text"; }
std::string type_text(const std::vector<int64_t>&, const Range* range) {
  return "a list of integers" + range_text(range);
}
std::string type_text(const std::vector<double>&, const Range* range) {
  return "a list of numbers" + range_text(range);
}
std::string type_text(const std::vector<std::string>&, const Range*) { return "a list of texts"; }
std::string type_text(const std::vector<TrainingStore>&, const Range*) { return "text, or a list of {store, weight}"; }
template <class E>
std::string type_text(const E&, const Range*) {
  return "one of " + joined(enum_names(E{}));
}

// JSON schema of a value.
template <class T>
nlohmann::ordered_json schema_of(const T& value, const Range* range) {
  if constexpr (std::is_enum_v<T>) {
    return {{"enum", enum_names(T{})}, {"default", enum_name(value)}};
  } else if constexpr (requires { typename T::value_type; } && !std::is_same_v<T, std::string>) {
    nlohmann::ordered_json schema = schema_of(typename T::value_type{}, range);  // one value stands for a list of one
    schema.erase("default");
    const nlohmann::ordered_json items = schema;
    schema.update({{"type", {"array", items["type"]}}, {"items", items}, {"default", value}});
    return schema;
  } else {
    constexpr const char* kType = std::is_same_v<T, bool>          ? "boolean"
                                  : std::is_same_v<T, std::string> ? "string"
                                  : std::is_integral_v<T>          ? "integer"
                                                                   : "number";
    nlohmann::ordered_json schema{{"type", kType}};
    if constexpr (std::is_arithmetic_v<T>) {
      if (range != nullptr) schema.update({{"minimum", T(range->low)}, {"maximum", T(range->high)}});
    }
    schema["default"] = value;
    return schema;
  }
}

nlohmann::ordered_json schema_of(const std::vector<TrainingStore>&, const Range*) {
  const nlohmann::ordered_json path{{"type", "string"}}, weight{{"type", "number"}, {"exclusiveMinimum", 0}};
  const nlohmann::ordered_json store{{"type", "object"},
                                     {"properties", {{"store", path}, {"weight", weight}}},
                                     {"required", {"store", "weight"}},
                                     {"additionalProperties", false}};
  return {{"type", {"array", "string"}}, {"items", store}, {"default", ""}};
}

std::string value_text(int64_t value) { return number_text(value); }
std::string value_text(double value) { return number_text(value); }
std::string value_text(bool value) { return value ? "true" : "false"; }
std::string value_text(const std::string& value) { return quoted_text(value); }
std::string value_text(const std::vector<int64_t>& value) { return number_text(value); }
template <class Element>
std::string list_text(const std::vector<Element>& values) {
  std::string text = "[";
  for (const Element& value : values) text += (text.size() > 1 ? ", " : "") + value_text(value);
  return text + "]";
}
std::string value_text(const std::vector<double>& value) { return list_text(value); }
std::string value_text(const std::vector<std::string>& value) { return list_text(value); }
std::string value_text(const std::vector<TrainingStore>& value) { return stores_text(value); }
template <class E>
requires std::is_enum_v<E> std::string value_text(E value) { return std::string(enum_name(value)); }

struct Collector {
  std::vector<FieldInfo> fields;

  void section(const std::string& path, std::string_view meaning) {
    fields.push_back({.path = path,
                      .is_section = true,
                      .type = "a section",
                      .value = {},
                      .schema = {},
                      .meaning = std::string(meaning)});
  }
  template <class T>
  void operator()(const std::string& path, const T& value, const Range* range, std::string_view meaning) {
    fields.push_back({.path = path,
                      .is_required = range != nullptr && range->required,
                      .type = type_text(value, range),
                      .value = value_text(value),
                      .schema = schema_of(value, range).dump(),
                      .meaning = std::string(meaning)});
  }
};

bool is_null_word(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

bool is_plain_safe(std::string_view text) {
  if (is_null_word(text) || text[0] == '-' || text[0] == '.') return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == '/' || c == '+';
  });
}

std::string in_quotes(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\x{:02x}", byte);
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

template <class Config>
std::vector<FieldInfo> fields_of(Config config) {
  Collector collector;
  PathVisitor visitor(collector);
  visit_fields(config, visitor);
  return std::move(collector.fields);
}

}  // namespace

std::vector<FieldInfo> config_fields(const RunConfig& config) { return fields_of(config); }
std::vector<FieldInfo> config_fields(const SweepFile& file) { return fields_of(file); }
std::vector<FieldInfo> config_fields(const EvalTask& task) { return fields_of(task); }
std::vector<FieldInfo> config_fields(const NetworkConfig& network) { return fields_of(network); }

std::string quoted_text(std::string_view text) { return is_plain_safe(text) ? std::string(text) : in_quotes(text); }

std::string stores_text(const std::vector<TrainingStore>& stores) {
  if (stores.empty()) return quoted_text("");
  if (stores.size() == 1 && stores[0].weight == 1) return quoted_text(stores[0].store);
  std::string text;
  for (const TrainingStore& store : stores) {
    text += fmt::format("{}{{store: {}, weight: {}}}", text.empty() ? "" : ", ", quoted_text(store.store),
                        number_text(store.weight));
  }
  return "[" + text + "]";
}

std::string shown_text(std::string_view text) {
  constexpr size_t kLongest = 80;
  if (text.size() <= kLongest) return in_quotes(text);
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a character
  return in_quotes(text.substr(0, end)) + fmt::format(" (and {} more bytes)", text.size() - end);
}

std::string joined(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

}  // namespace engram
