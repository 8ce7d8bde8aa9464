#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "trainer/eval_config.h"
#include "trainer/sweep_config.h"

namespace engram {

struct NetworkConfig;

// One key of a configuration: a value, or a section that holds further keys.
struct FieldInfo {
  std::string path;  // "model.engram.heads"
  bool is_section = false;
  bool is_required = false;
  std::string type;    // "an integer in [1, 1024]", "one of adam_lazy, adam_dense, sgd"
  std::string value;   // YAML text
  std::string schema;  // JSON schema of the value with its default; of a section empty
  std::string meaning;
};

// Every key of `config`, sections before what they hold, in the order of the field lists.
std::vector<FieldInfo> config_fields(const RunConfig& config);
std::vector<FieldInfo> config_fields(const SweepFile& file);
std::vector<FieldInfo> config_fields(const EvalTask& task);
std::vector<FieldInfo> config_fields(const NetworkConfig& network);

// Text that YAML reads back as the same string: plain where that is safe, otherwise quoted.
std::string quoted_text(std::string_view text);

// The same for the stores of data.train: a path alone, or "[{store: a.h5, weight: 0.7}, ...]".
std::string stores_text(const std::vector<TrainingStore>& stores);

// `text` in double quotes with escapes, as messages show what was found; the end of long text is left out.
std::string shown_text(std::string_view text);

// "a, b, c"
std::string joined(std::span<const std::string_view> names);

// Adapts a field list of nested structs to full paths. Calls
//   leaf(path, value, const Range* (null without), meaning)  for each value, and  leaf.section(path, meaning)
template <class Leaf>
class PathVisitor {
 public:
  explicit PathVisitor(Leaf& leaf, std::string prefix = {}) : leaf_(leaf), prefix_(std::move(prefix)) {}

  template <class T>
  void operator()(std::string_view name, T& value, const Range& range, std::string_view meaning) {
    leaf_(prefix_ + std::string(name), value, &range, meaning);
  }
  template <class T>
  void operator()(std::string_view name, T& value, std::string_view meaning) {
    const std::string path = prefix_ + std::string(name);
    if constexpr (std::is_class_v<T> && !requires { value.push_back({}); }) {  // neither text nor list
      leaf_.section(path, meaning);
      PathVisitor nested(leaf_, path + ".");
      visit_fields(value, nested);
    } else {
      leaf_(path, value, static_cast<const Range*>(nullptr), meaning);
    }
  }

 private:
  Leaf& leaf_;
  std::string prefix_;
};

}  // namespace engram
