#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "data/hdf5_file.h"
#include "trainer/sweep_report.h"

namespace engram {
namespace {

// Calls numbers(name, value) and then texts(name, value) for the columns of a trial.
template <class Numbers, class Texts>
void visit_columns(const ReportedTrial& trial, const Numbers& numbers, const Texts& texts) {
  const TrialEntry& entry = trial.entry;
  const auto number = [&](const char* name, const auto& value) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(value)>>) numbers(name, static_cast<double>(value));
  };
  const auto text = [&](const char* name, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) texts(name, value);
  };
  number("trial", entry.number);
  visit_trial_facts(entry.facts, number);
  visit_outcome(entry.outcome, number);
  number("starts", entry.starts);
  visit_trial_facts(entry.facts, text);
  text("state", std::string(enum_name(entry.state)));
  text("sweep", trial.sweep);
}

std::string quoted_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  quoted += '"';
  return quoted;
}

}  // namespace

std::string results_csv(const SweepReport& report) {
  std::string header, lines;
  for (const ReportedTrial& trial : report.trials) {
    std::string names, cells;
    const auto add = [&](const char* name, const std::string& cell) {
      names.append(names.empty() ? "" : ",").append(name);
      cells.append(names == name ? "" : ",").append(cell);
    };
    visit_columns(
        trial, [&](const char* name, double value) { add(name, std::isfinite(value) ? fmt::format("{}", value) : ""); },
        [&](const char* name, const std::string& value) { add(name, quoted_cell(value)); });
    header = names;
    lines += cells + "\n";
  }
  return header + "\n" + lines;
}

void write_results_hdf5(const SweepReport& report, const std::string& path) {
  std::map<std::string, std::vector<double>> columns;
  std::map<std::string, nlohmann::json> texts;
  for (const ReportedTrial& trial : report.trials) {
    visit_columns(
        trial, [&](const char* name, double value) { columns[name].push_back(value); },
        [&](const char* name, const std::string& value) { texts[name].push_back(value); });
  }
  Hdf5Writer writer(path);
  for (const auto& [name, values] : columns) writer.write_dataset(name, std::span<const double>(values));
  for (const auto& [name, values] : texts) writer.set_attribute("", name, values.dump());
  writer.close();
}

}  // namespace engram
