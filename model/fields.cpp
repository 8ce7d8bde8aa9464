#include "model/fields.h"

#include <fmt/format.h>

#include "kernels/core/check.h"

namespace engram {

void append_problems(ConfigProblems& all, std::string_view prefix, ConfigProblems problems) {
  for (ConfigProblem& problem : problems) {
    for (std::string& key : problem.keys) key = fmt::format("{}.{}", prefix, key);
    all.push_back(std::move(problem));
  }
}

void throw_problems(std::string_view what, const ConfigProblems& problems) {
  if (problems.empty()) return;
  std::string message{what};
  for (const ConfigProblem& problem : problems) message += fmt::format("\n{}: {}", problem.keys.at(0), problem.text);
  throw Error(message);
}

std::string number_text(double value) { return fmt::format("{}", value); }
std::string number_text(int64_t value) { return fmt::format("{}", value); }

std::string number_text(const std::vector<int64_t>& values) {
  std::string text = "[";
  for (const int64_t value : values) text += (text.size() > 1 ? ", " : "") + number_text(value);
  return text + "]";
}

std::string range_problem(double value, const Range& range) {
  if (value >= range.low && value <= range.high) return {};
  return fmt::format("{} is outside [{}, {}]", value, range.low, range.high);
}

std::string range_problem(int64_t value, const Range& range) {
  if (value >= static_cast<int64_t>(range.low) && value <= static_cast<int64_t>(range.high)) return {};
  return fmt::format("{} is outside [{}, {}]", value, range.low, range.high);
}

}  // namespace engram
