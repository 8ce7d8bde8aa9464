#include "trainer/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <unordered_map>

#include "trainer/config.h"
#include "trainer/config_value.h"
#include "trainer/eval_config.h"
#include "trainer/key_suggestion.h"
#include "trainer/scale_model.h"

namespace engram {
namespace {

constexpr size_t kMaxShownProblems = 50;
constexpr const char* kOverridePrefix = "--set ";

// Names of the keys right below `prefix` ("" or "model.").
std::vector<std::string> names_below(const std::vector<FieldInfo>& fields, const std::string& prefix) {
  std::vector<std::string> names;
  for (const FieldInfo& field : fields) {
    if (!field.path.starts_with(prefix)) continue;
    std::string rest = field.path.substr(prefix.size());
    if (rest.find('.') == std::string::npos) names.push_back(std::move(rest));
  }
  return names;
}

// Paths elsewhere whose last part is exactly `name`.
std::vector<std::string> paths_ending_in(const std::vector<FieldInfo>& fields, const std::string& name) {
  std::vector<std::string> paths;
  for (const FieldInfo& field : fields) {
    if (field.path.ends_with("." + name) || field.path == name) paths.push_back(field.path);
  }
  return paths;
}

// Listed once: it takes longer than reading a file, and sweeps read hundreds.
template <class Config>
const std::vector<FieldInfo>& known_fields() {
  static const std::vector<FieldInfo> kFields = config_fields(Config{});
  return kFields;
}

}  // namespace

// Visitor that moves the values of the tree at hand into the configuration.
template <class Config>
struct ConfigReader<Config>::Assigner {
  ConfigReader& reader;

  void section(const std::string&, std::string_view) {}
  template <class T>
  void operator()(const std::string& path, T& target, const Range*, std::string_view) {
    const auto found = reader.values_.find(path);
    if (found == reader.values_.end()) return;
    const auto& [node, place] = found->second;
    reader.places_[path] = place;
    const std::string problem = read_value(*node, target);
    if (problem.empty()) return;
    reader.failed_.insert(path);
    reader.add(place, path + ": " + problem);
  }
};

std::string read_config_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ConfigError(path + ": cannot be opened; wanted a configuration file");
  std::string text(kMaxYamlBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && !file.eof())) throw ConfigError(path + ": cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

template <class Config>
ConfigReader<Config>::ConfigReader() : fields_(known_fields<Config>()) {}

template <class Config>
void ConfigReader<Config>::add_file(std::string_view text, std::string_view name) {
  const size_t source = sources_.size();
  sources_.emplace_back(name);
  std::vector<YamlProblem> problems;
  const YamlNode root = parse_yaml(text, problems);
  for (YamlProblem& problem : problems) add({source, problem.mark}, std::move(problem.text));
  if (root.kind == YamlNode::Kind::kMap) {
    apply(root, source);
    return;
  }
  broken_ = true;
  if (problems.empty()) add({source, root.mark}, "wanted keys and values at the top");
}

template <class Config>
void ConfigReader<Config>::add_part(const YamlNode& map, std::string_view name) {
  top_ = {sources_.size(), map.mark};
  sources_.emplace_back(name);
  apply(map, top_.source);
}

template <class Config>
void ConfigReader<Config>::add_override(std::string_view text) {
  const size_t source = sources_.size();
  sources_.push_back(kOverridePrefix + std::string(text.substr(0, 200)));
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    add({source, {}}, "wanted path=value, for example train.steps=100");
    return;
  }
  YamlNode node;
  const std::string_view value = text.substr(equals + 1);
  if (value.find_first_not_of(' ') != std::string_view::npos) {
    std::vector<YamlProblem> problems;
    node = parse_yaml(value, problems);
    for (YamlProblem& problem : problems) add({source, {}}, std::move(problem.text));
    if (!problems.empty()) return;
  }
  std::string_view path = text.substr(0, equals);
  while (!path.empty()) {
    const size_t dot = path.rfind('.');
    YamlNode parent;
    parent.kind = YamlNode::Kind::kMap;
    parent.keys.push_back({std::string(dot == std::string_view::npos ? path : path.substr(dot + 1)), YamlMark{}});
    parent.items.push_back(std::move(node));
    node = std::move(parent);
    path = path.substr(0, dot == std::string_view::npos ? 0 : dot);
  }
  apply(node, source);
}

template <class Config>
void ConfigReader<Config>::apply(const YamlNode& root, size_t source) {
  values_.clear();
  walk(root, "", source);
  Assigner assigner{*this};
  PathVisitor visitor(assigner);
  visit_fields(config_, visitor);
  values_.clear();
}

template <class Config>
void ConfigReader<Config>::walk(const YamlNode& map, const std::string& prefix, size_t source) {
  std::unordered_map<std::string, int> first_line;
  for (size_t i = 0; i < map.keys.size(); ++i) {
    const YamlKey& key = map.keys[i];
    const auto [first, is_new] = first_line.emplace(key.text, key.mark.line);
    if (is_new) {
      take(key, map.items[i], prefix, source);
    } else {
      add({source, key.mark}, fmt::format("{}{}: given twice, first in line {}", prefix, key.text, first->second));
    }
  }
}

template <class Config>
void ConfigReader<Config>::take(const YamlKey& key, const YamlNode& node, const std::string& prefix, size_t source) {
  const std::string path = prefix + key.text;
  const auto field =
      std::find_if(fields_.begin(), fields_.end(), [&](const FieldInfo& known) { return known.path == path; });
  // A dot in the key itself would name a deeper field.
  if (field == fields_.end() || key.text.find('.') != std::string::npos) {
    refuse_unknown(key, prefix, source);
    return;
  }
  const Place place{source, node.kind == YamlNode::Kind::kNull ? key.mark : node.mark};
  if (!field->is_section) {
    values_[path] = {&node, place};
  } else if (node.kind == YamlNode::Kind::kMap) {
    walk(node, path + ".", source);
  } else {
    failed_.insert(path);
    add(place, fmt::format("{}: {}; wanted a section with keys below it", path, node_text(node)));
  }
}

template <class Config>
void ConfigReader<Config>::refuse_unknown(const YamlKey& key, const std::string& prefix, size_t source) {
  const std::vector<std::string> known = names_below(fields_, prefix);
  std::vector<std::string> near = nearest_names(key.text, known);
  for (const std::string& name : near) meant_.insert(prefix + name);
  if (near.empty()) near = paths_ending_in(fields_, key.text);
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::string shown = key.text.size() > 80 ? shown_text(key.text) : key.text;
  add({source, key.mark},
      fmt::format("{}{}: unknown key{} (known: {})", prefix, shown, suggestion_text(near), joined(names)));
}

template <class Config>
bool ConfigReader<Config>::has_failed(const std::string& path) const {
  const bool is_given = places_.count(path) > 0;
  for (size_t end = path.size(); end != std::string::npos; end = path.rfind('.', end - 1)) {
    const std::string above = path.substr(0, end);
    if (failed_.count(above) > 0 || (!is_given && meant_.count(above) > 0)) return true;
  }
  return false;
}

template <class Config>
void ConfigReader<Config>::add_missing() {
  for (const FieldInfo& field : fields_) {
    if (!field.is_required || places_.count(field.path) > 0) continue;
    if (!has_failed(field.path)) {
      add(top_, fmt::format("{}: missing; wanted {} ({})", field.path, field.type, field.meaning));
    }
    failed_.insert(field.path);
  }
}

template <class Config>
void ConfigReader<Config>::add_rules() {
  for (ConfigProblem& problem : validate(config_)) {
    const bool follows =
        std::any_of(problem.keys.begin(), problem.keys.end(), [&](const std::string& key) { return has_failed(key); });
    if (follows) continue;  // from another problem, reported already
    // The rule may be broken by any of its keys; point at one that was given.
    const auto given = std::find_if(problem.keys.begin(), problem.keys.end(),
                                    [&](const std::string& key) { return places_.count(key) > 0; });
    const Place place = given == problem.keys.end() ? top_ : places_[*given];
    add(place, problem.keys[0] + ": " + problem.text);
  }
}

template <class Config>
Config ConfigReader<Config>::finish() {
  if (!broken_) {
    add_missing();
    add_rules();
  }
  if (!problems_.empty()) throw ConfigError(message());
  return config_;
}

template <class Config>
std::string ConfigReader<Config>::message() const {
  std::vector<Problem> sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::tuple(a.place.source, a.place.mark.line, a.place.mark.column) <
           std::tuple(b.place.source, b.place.mark.line, b.place.mark.column);
  });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kMaxShownProblems); ++i) {
    const auto& [place, what] = sorted[i];
    const std::string source = place.source < sources_.size() ? sources_[place.source] : "defaults";
    text += (i > 0 ? "\n" : "") + source;
    const bool is_file = !source.starts_with(kOverridePrefix);
    if (is_file && place.mark.line > 0) text += fmt::format(":{}:{}", place.mark.line, place.mark.column);
    text += ": " + what;
  }
  if (sorted.size() > kMaxShownProblems) {
    text += fmt::format("\n... and {} more problems", sorted.size() - kMaxShownProblems);
  }
  return text;
}

template class ConfigReader<RunConfig>;
template class ConfigReader<SweepFile>;
template class ConfigReader<EvalTask>;
template class ConfigReader<NetworkConfig>;

}  // namespace engram
