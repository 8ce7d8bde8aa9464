#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What a configuration struct is described with. Each struct has one `visit_fields(config, visitor)`; the visitor is
// called once per field, in one of two forms:
//
//   field(name, value, Range{low, high}, "meaning")   int64_t, double, std::vector<int64_t> (each element)
//   field(name, value, "meaning")                     bool, std::string, enums with enum_names(), nested structs
//
// Parsing, --set, range checks, printing and help all walk these lists, so a field is written down once.
namespace engram {

// Closed interval of allowed values. A required field has no usable default and must be given.
struct Range {
  double low = 0;
  double high = 0;
  bool required = false;
};

constexpr Range required(Range range) { return {.low = range.low, .high = range.high, .required = true}; }

inline constexpr double kLeastEpsilon = 1e-30;           // above 0 in float32 too, so that 0 / (0 + eps) is 0
inline constexpr double kAnyCount = 9007199254740992.0;  // 2^53: above it a double no longer holds every integer

// A broken rule. `keys` are dotted paths; the first is where the message points, the others took part in it.
struct ConfigProblem {
  std::vector<std::string> keys;
  std::string text;
};
using ConfigProblems = std::vector<ConfigProblem>;

// Appends `problems` to `all`, with `prefix` and a dot in front of each key.
void append_problems(ConfigProblems& all, std::string_view prefix, ConfigProblems problems);

// Throws Error that lists all problems, one per line; returns where there are none. `what` starts the message.
void throw_problems(std::string_view what, const ConfigProblems& problems);

// Text of numbers as messages and printed configurations show it; doubles in the shortest form that reads back equal.
std::string number_text(double value);
std::string number_text(int64_t value);
std::string number_text(const std::vector<int64_t>& values);  // "[1, 2]"

// "" where `value` lies in `range`, otherwise "1.5 is outside [0, 1]".
std::string range_problem(double value, const Range& range);
std::string range_problem(int64_t value, const Range& range);

// An enum declares `constexpr auto enum_names(E) { return std::array{...}; }`, names in the order of its values, which
// count from 0.
template <class E>
std::string_view enum_name(E value) {
  return enum_names(E{})[static_cast<size_t>(value)];
}

// Nothing where no value has that name.
template <class E>
std::optional<E> enum_named(std::string_view name) {
  constexpr auto names = enum_names(E{});
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<E>(found - names.begin());
}

// Visitor that collects the fields outside their range, of nested structs too.
class RangeVisitor {
 public:
  explicit RangeVisitor(ConfigProblems& problems, std::string prefix = {})
      : problems_(problems), prefix_(std::move(prefix)) {}

  template <class T>
  void operator()(std::string_view name, const T& value, const Range& range, std::string_view) {
    if constexpr (requires { value.begin(); }) {
      for (const auto& element : value) add(name, range_problem(element, range));
    } else {
      add(name, range_problem(value, range));
    }
  }
  template <class T>
  void operator()(std::string_view name, const T& value, std::string_view) {
    if constexpr (requires { visit_fields(const_cast<T&>(value), *this); }) {
      RangeVisitor nested(problems_, prefix_ + std::string(name) + ".");
      visit_fields(const_cast<T&>(value), nested);  // the visitor takes const references
    }
  }

 private:
  void add(std::string_view name, std::string text) {
    if (!text.empty()) problems_.push_back({.keys = {prefix_ + std::string(name)}, .text = std::move(text)});
  }
  ConfigProblems& problems_;
  std::string prefix_;
};

// Problems of all fields of `config` and the structs in it that lie outside their Range.
template <class Config>
ConfigProblems range_problems(const Config& config) {
  ConfigProblems problems;
  RangeVisitor visitor(problems);
  visit_fields(const_cast<Config&>(config), visitor);  // the visitor takes const references
  return problems;
}

}  // namespace engram
