#include "trainer/config_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "trainer/config_fields.h"
#include "trainer/key_suggestion.h"

namespace engram {
namespace {

bool is_plain_scalar(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar && node.plain; }

// "" where the node may hold a number or boolean, otherwise the message.
std::string refuse_shape(const YamlNode& node, std::string_view wanted) {
  if (is_plain_scalar(node)) return {};
  if (node.kind == YamlNode::Kind::kScalar) return fmt::format("{} is quoted text, not {}", node_text(node), wanted);
  return fmt::format("{}; wanted {}", node_text(node), wanted);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits after an optional minus sign; `rest` gets what follows them.
bool split_digits(std::string_view text, std::string_view& digits, std::string_view& rest) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
  digits = text.substr(0, static_cast<size_t>(end - text.begin()));
  rest = text.substr(digits.size());
  return !digits.empty();
}

std::string read_value(const YamlNode& node, TrainingStore& target) {
  if (node.kind != YamlNode::Kind::kMap) return node_text(node) + "; wanted {store: PATH, weight: NUMBER}";
  std::vector<std::string> missing{"store", "weight"};
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].text;
    const auto found = std::find(missing.begin(), missing.end(), key);
    if (found == missing.end()) return key + ": unknown key, or given twice (known: store, weight)";
    missing.erase(found);
    const std::string problem =
        key == "store" ? read_value(node.items[i], target.store) : read_value(node.items[i], target.weight);
    if (!problem.empty()) return key + ": " + problem;
  }
  return missing.empty() ? "" : missing[0] + ": missing; wanted {store: PATH, weight: NUMBER}";
}

template <class Element>
std::string read_list(const YamlNode& node, std::string_view wanted, std::vector<Element>& target) {
  std::vector<Element> values;
  if (node.kind != YamlNode::Kind::kList) {
    const bool is_one = node.kind == YamlNode::Kind::kScalar && (node.plain || std::is_same_v<Element, std::string>);
    if (!is_one) return fmt::format("{}; wanted {}", node_text(node), wanted);
    Element value{};
    if (std::string problem = read_value(node, value); !problem.empty()) return problem;
    target = {value};
    return {};
  }
  for (const YamlNode& item : node.items) {
    if (std::string problem = read_value(item, values.emplace_back()); !problem.empty()) {
      return fmt::format("element {}: {}", values.size() - 1, problem);
    }
  }
  target = std::move(values);
  return {};
}

}  // namespace

std::string node_text(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return shown_text(node.text);
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a section with keys";
  }
  return {};
}

std::string read_value(const YamlNode& node, int64_t& target) {
  if (std::string problem = refuse_shape(node, "an integer"); !problem.empty()) return problem;
  std::string_view digits, rest;
  if (!split_digits(node.text, digits, rest) || !rest.empty()) return node_text(node) + " is not an integer";
  if (digits.size() > 1 && digits[0] == '0') return node_text(node) + " has a leading zero; wanted a decimal integer";
  int64_t value = 0;
  const auto [end, error] = std::from_chars(node.text.data(), node.text.data() + node.text.size(), value);
  if (error != std::errc{}) return node_text(node) + " does not fit an integer of 64 bits";
  target = value;
  return {};
}

std::string read_value(const YamlNode& node, double& target) {
  if (std::string problem = refuse_shape(node, "a number"); !problem.empty()) return problem;
  std::string_view digits, rest;
  const bool starts_well = split_digits(node.text, digits, rest);
  double value = 0;
  const char* last = node.text.data() + node.text.size();
  const auto [end, error] = std::from_chars(node.text.data(), last, value);
  if (!starts_well || end != last || error == std::errc::invalid_argument) return node_text(node) + " is not a number";
  if (digits.size() > 1 && digits[0] == '0') return node_text(node) + " has a leading zero; wanted a decimal number";
  if (error != std::errc{} || !std::isfinite(value)) return node_text(node) + " does not fit a number of 64 bits";
  target = value;
  return {};
}

std::string read_value(const YamlNode& node, bool& target) {
  if (std::string problem = refuse_shape(node, "true or false"); !problem.empty()) return problem;
  if (node.text != "true" && node.text != "false") return node_text(node) + " is not true or false";
  target = node.text == "true";
  return {};
}

std::string read_value(const YamlNode& node, std::string& target) {
  if (node.kind == YamlNode::Kind::kNull) return "nothing; wanted text (\"\" for empty text)";
  if (node.kind != YamlNode::Kind::kScalar) return node_text(node) + "; wanted text";
  target = node.text;
  return {};
}

std::string read_value(const YamlNode& node, std::vector<int64_t>& target) {
  return read_list(node, "a list of integers, for example [1, 3]", target);
}
std::string read_value(const YamlNode& node, std::vector<double>& target) {
  return read_list(node, "a list of numbers, for example [0.5, 1]", target);
}
std::string read_value(const YamlNode& node, std::vector<std::string>& target) {
  return read_list(node, "a list of texts, for example [a, \"b c\"]", target);
}

std::string read_value(const YamlNode& node, std::vector<TrainingStore>& target) {
  if (node.kind != YamlNode::Kind::kScalar) {
    return read_list(node, "a token store, or a list of {store: PATH, weight: NUMBER}", target);
  }
  target.clear();
  if (!node.text.empty()) target.push_back({.store = node.text});
  return {};
}

std::string read_choice(const YamlNode& node, std::span<const std::string_view> names, size_t& target) {
  const std::string wanted = joined(names);
  if (node.kind != YamlNode::Kind::kScalar) return fmt::format("{}; wanted one of {}", node_text(node), wanted);
  const auto found = std::find(names.begin(), names.end(), node.text);
  if (found == names.end()) {
    const std::vector<std::string> candidates(names.begin(), names.end());
    return fmt::format("{} is none of {}{}", node_text(node), wanted,
                       suggestion_text(nearest_names(node.text, candidates)));
  }
  target = static_cast<size_t>(found - names.begin());
  return {};
}

}  // namespace engram
