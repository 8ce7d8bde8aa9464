#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "trainer/run_config.h"
#include "trainer/yaml_tree.h"

namespace engram {

// What was found, for messages: "\"4k\"", "a list", "nothing".
std::string node_text(const YamlNode& node);

// Each reads one value of that type and returns "", or what is wrong with it ("\"4k\" is not an integer") and leaves
// the target as it was. Integers are decimal without a leading zero, booleans true or false; quoted text is text. A
// single value stands for a list of one.
std::string read_value(const YamlNode& node, int64_t& target);
std::string read_value(const YamlNode& node, double& target);
std::string read_value(const YamlNode& node, bool& target);
std::string read_value(const YamlNode& node, std::string& target);
std::string read_value(const YamlNode& node, std::vector<int64_t>& target);
std::string read_value(const YamlNode& node, std::vector<double>& target);
std::string read_value(const YamlNode& node, std::vector<std::string>& target);
// A path, or a list of {store: PATH, weight: NUMBER}; empty text is no store.
std::string read_value(const YamlNode& node, std::vector<TrainingStore>& target);

// The same for one of `names`, as its index.
std::string read_choice(const YamlNode& node, std::span<const std::string_view> names, size_t& target);

template <class E>
requires std::is_enum_v<E> std::string read_value(const YamlNode& node, E& target) {
  constexpr auto names = enum_names(E{});
  auto index = static_cast<size_t>(target);
  std::string problem = read_choice(node, names, index);
  target = static_cast<E>(index);
  return problem;
}

}  // namespace engram
