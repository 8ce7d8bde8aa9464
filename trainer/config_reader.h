#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config_fields.h"
#include "trainer/sweep_config.h"
#include "trainer/yaml_tree.h"

namespace engram {

// At most one byte more than a configuration may have, so that a huge file costs nothing. Throws ConfigError.
std::string read_config_file(const std::string& path);

// Fills a RunConfig, a SweepFile, an EvalTask or a NetworkConfig from trees of keys and values and collects everything
// that is wrong with them on the way. Files, parts of files and --set go through the same walk: an override is a tree
// with one key per level.
template <class Config>
class ConfigReader {
 public:
  ConfigReader();

  // `name` stands for the file in messages.
  void add_file(std::string_view text, std::string_view name);
  // A map that is part of the file `name`; what it lacks is told at its place.
  void add_part(const YamlNode& map, std::string_view name);
  void add_override(std::string_view text);  // "path=value"

  // The configuration, once required keys, ranges and combinations were checked too. Throws ConfigError with every
  // problem found, in the order of the files.
  Config finish();

 private:
  struct Place {
    size_t source = 0;  // index in sources_
    YamlMark mark;
  };
  struct Problem {
    Place place;
    std::string text;
  };
  struct Value {
    const YamlNode* node;
    Place place;
  };
  struct Assigner;

  void apply(const YamlNode& root, size_t source);
  void walk(const YamlNode& map, const std::string& prefix, size_t source);
  void take(const YamlKey& key, const YamlNode& node, const std::string& prefix, size_t source);
  void refuse_unknown(const YamlKey& key, const std::string& prefix, size_t source);
  void add(Place place, std::string text) { problems_.push_back({place, std::move(text)}); }
  bool has_failed(const std::string& path) const;
  void add_missing();
  void add_rules();
  std::string message() const;

  Config config_;
  const std::vector<FieldInfo>& fields_;
  std::vector<std::string> sources_;
  Place top_;                            // where missing keys are told
  bool broken_ = false;                  // a file could not be read as a whole
  std::map<std::string, Value> values_;  // of the tree being applied
  std::map<std::string, Place> places_;  // where each key was given last
  std::set<std::string> failed_;         // keys and sections already complained about
  std::set<std::string> meant_;          // keys that unknown ones were probably meant to be
  std::vector<Problem> problems_;
};

}  // namespace engram
