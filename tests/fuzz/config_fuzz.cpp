#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "trainer/config.h"
#include "trainer/yaml_tree.h"

// Configurations of runs, and of sweeps where there is a section `sweep`: what is taken is printed as a configuration
// that says the same.
namespace engram::fuzz {

bool reads(std::string_view input) {
  std::vector<YamlProblem> problems;
  const YamlNode root = parse_yaml(input, problems);
  if (!problems.empty()) return false;  // what is left is slower by far
  if (std::ranges::find(root.keys, "sweep", &YamlKey::text) != root.keys.end()) {
    return accepts<ConfigError>([&] { parse_sweep(input, "input.yaml"); });
  }
  RunConfig run;
  if (!accepts<ConfigError>([&] { run = parse_config(input, "input.yaml"); })) return false;
  const std::string printed = print_config(run);
  must_hold(print_config(parse_config(printed, "printed.yaml")) == printed, "a printed configuration is read back");
  return true;
}

}  // namespace engram::fuzz
