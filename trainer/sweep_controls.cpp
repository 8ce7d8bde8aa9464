#include <fmt/format.h>

#include <algorithm>

#include "trainer/config.h"
#include "trainer/config_fields.h"
#include "trainer/key_suggestion.h"
#include "trainer/sweep_plan.h"

namespace engram {
namespace {

struct NamedControl {
  const char* name;
  const char* override_text;
};

constexpr NamedControl kControls[] = {
    {kWideShared, ""},
    {"no_conv", "model.engram.conv=false"},
    {"plain_gate", "model.engram.gate=plain"},
    {"signed_sqrt_gate", "model.engram.gate=signed_sqrt"},
    {"no_gate", "model.engram.fusion=half"},
    {"shuffled", "model.engram.addressing=shuffled"},
    {"constant", "model.engram.addressing=constant"},
    {"frozen", "optimizer.table.lr_mult=0"},
    {"no_compression", "model.engram.compression=false"},
    {"over_encoding", "model.engram.fusion=mean; model.engram.layers=[0]; model.engram.conv=false"},
    {"across_documents", "model.engram.boundary=sequence"},
};

// "a=1; b=[1, 2]" -> {"a=1", "b=[1, 2]"}
std::vector<std::string> split_overrides(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(';', begin), text.size());
    const size_t first = std::min(text.find_first_not_of(' ', begin), end);
    if (first < end) parts.push_back(text.substr(first, end - first));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

std::vector<std::string> control_overrides(const std::string& control) {
  if (control.find('=') != std::string::npos) return split_overrides(control);
  std::vector<std::string> names;
  for (const NamedControl& known : kControls) {
    if (control == known.name) return split_overrides(known.override_text);
    names.emplace_back(known.name);
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  throw ConfigError(fmt::format("\"{}\" is unknown{} (known: {}, and key=value)", control,
                                suggestion_text(nearest_names(control, names)), joined(views)));
}

}  // namespace engram
