#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/check.h"
#include "model/model_config.h"
#include "trainer/sweep_config.h"

// Reading, checking and printing of run configurations. The file format is a strict subset of YAML: no duplicate keys,
// anchors, aliases, tags or second documents; booleans are true and false, integers decimal; at most 1 MB.
namespace engram {

// Configuration or command line refused; main() answers with kExitUsage. The message lists every problem, one per
// line, each as "file:line:column: path: what, got, wanted".
class ConfigError : public Error {
 public:
  using Error::Error;
};

// Defaults, then the file, then the overrides ("path=value", lists in YAML flow form; a later one wins). Throws
// ConfigError with all problems of parsing, ranges and combinations together.
RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides = {});

// The same from text; `name` stands for the file in messages.
RunConfig parse_config(std::string_view text, std::string_view name, const std::vector<std::string>& overrides = {});

// The same for a sweep file: a section `sweep` beside the sections of a run.
SweepFile load_sweep(const std::string& path, const std::vector<std::string>& overrides = {});
SweepFile parse_sweep(std::string_view text, std::string_view name, const std::vector<std::string>& overrides = {});

// One leaf of the configuration, in the order of the field lists.
struct ConfigEntry {
  std::string path;   // "model.engram.heads"
  std::string value;  // YAML text: "8", "[2, 3]", "cpu", "\"a b\""
  bool is_default = false;
};
std::vector<ConfigEntry> config_entries(const RunConfig& config);

// The effective configuration as YAML that parse_config() reads back to an equal one. `mark_changes` puts
// "  # changed" after values that differ from the built-in default.
std::string print_config(const RunConfig& config, bool mark_changes = false);

// 16 hexadecimal digits of print_config(config).
std::string config_digest(const RunConfig& config);

// Paths whose values differ, as "path: a -> b". `prefix` narrows it: "model." compares models alone.
std::vector<std::string> config_differences(const RunConfig& a, const RunConfig& b, std::string_view prefix = {});

// Type, range, default and meaning of the key, or of every key below it. Throws ConfigError for an unknown key.
std::string explain_key(std::string_view path);

// JSON schema of configuration files, for editors: types, ranges, defaults and meanings of all keys. Rules about
// combinations are not in it.
std::string config_schema();

// What a training step needs beyond a valid configuration: nothing that only accounting knows. Throws ConfigError.
void check_computable(const RunConfig& config);

// What `train` needs: the same, data and tokenizer named, and a warm-up within the run. Throws ConfigError.
void check_trainable(const RunConfig& config);

// Rules that involve the number of ranks: parallel.* divide it, the global batch divides over it, and every memory
// table has at least one row per rank that shares it. Throws ConfigError.
void check_world(const RunConfig& config, int64_t world_size);

}  // namespace engram
