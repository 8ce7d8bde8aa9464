#include "trainer/config.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "trainer/config_fields.h"
#include "trainer/config_reader.h"
#include "trainer/key_suggestion.h"

namespace engram {
namespace {

std::string explanation(const FieldInfo& field) {
  const std::string standing = field.is_required ? "required" : "default " + field.value;
  return fmt::format("{}: {}, {}\n    {}\n", field.path, field.type, standing, field.meaning);
}

template <class Config>
Config parse(std::string_view text, std::string_view name, const std::vector<std::string>& overrides) {
  ConfigReader<Config> reader;
  reader.add_file(text, name);
  for (const std::string& change : overrides) reader.add_override(change);
  return reader.finish();
}

}  // namespace

RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_config(read_config_file(path), path, overrides);
}

RunConfig parse_config(std::string_view text, std::string_view name, const std::vector<std::string>& overrides) {
  return parse<RunConfig>(text, name, overrides);
}

SweepFile load_sweep(const std::string& path, const std::vector<std::string>& overrides) {
  return parse<SweepFile>(read_config_file(path), path, overrides);
}

SweepFile parse_sweep(std::string_view text, std::string_view name, const std::vector<std::string>& overrides) {
  return parse<SweepFile>(text, name, overrides);
}

std::vector<ConfigEntry> config_entries(const RunConfig& config) {
  const std::vector<FieldInfo> fields = config_fields(config);
  const std::vector<FieldInfo> defaults = config_fields(RunConfig{});
  std::vector<ConfigEntry> entries;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].is_section) continue;
    entries.push_back({fields[i].path, fields[i].value, fields[i].value == defaults[i].value});
  }
  return entries;
}

std::string print_config(const RunConfig& config, bool mark_changes) {
  const std::vector<FieldInfo> fields = config_fields(config);
  const std::vector<FieldInfo> defaults = config_fields(RunConfig{});
  std::string text;
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string& path = fields[i].path;
    const auto depth = static_cast<size_t>(std::count(path.begin(), path.end(), '.'));
    text.append(2 * depth, ' ').append(path, path.rfind('.') + 1).append(":");
    if (!fields[i].is_section) text.append(" ").append(fields[i].value);
    if (mark_changes && fields[i].value != defaults[i].value) text += "  # changed";
    text += "\n";
  }
  return text;
}

std::string config_digest(const RunConfig& config) {
  const std::string text = print_config(config);
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::vector<std::string> config_differences(const RunConfig& a, const RunConfig& b, std::string_view prefix) {
  const std::vector<FieldInfo> left = config_fields(a), right = config_fields(b);
  std::vector<std::string> differences;
  for (size_t i = 0; i < left.size(); ++i) {
    if (left[i].value == right[i].value || !left[i].path.starts_with(prefix)) continue;
    differences.push_back(fmt::format("{}: {} -> {}", left[i].path, left[i].value, right[i].value));
  }
  return differences;
}

std::string explain_key(std::string_view path) {
  const std::vector<FieldInfo> fields = config_fields(SweepFile{});
  const std::string below = fmt::format("{}.", path);
  std::string text;
  std::vector<std::string> paths;
  for (const FieldInfo& field : fields) {
    paths.push_back(field.path);
    const bool is_asked = field.path == path || field.path.starts_with(below) || path.empty();
    if (is_asked && !field.is_section) text += explanation(field);
  }
  if (!text.empty()) return text;
  std::vector<std::string> near = nearest_names(path, paths);
  for (const std::string& known : paths) {
    if (near.empty() && known.ends_with(fmt::format(".{}", path))) near.push_back(known);
  }
  throw ConfigError(fmt::format("{}: unknown key{}", path, suggestion_text(near)));
}

}  // namespace engram
