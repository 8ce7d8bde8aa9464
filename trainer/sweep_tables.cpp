#include "trainer/sweep_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/hdf5_file.h"
#include "trainer/config_fields.h"
#include "trainer/csv.h"

namespace engram {
namespace {

// Calls field(name, value) for the columns of a trial, texts after numbers.
template <class Trial, class Field>
void visit_columns(Trial& trial, const Field& field) {
  auto& entry = trial.entry;
  const auto number = [&](const char* name, auto& value) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(value)>>) field(name, value);
  };
  const auto text = [&](const char* name, auto& value) {
    if constexpr (!std::is_arithmetic_v<std::decay_t<decltype(value)>>) field(name, value);
  };
  number("trial", entry.number);
  visit_trial_facts(entry.facts, number);
  visit_outcome(entry.outcome, number);
  number("starts", entry.starts);
  visit_trial_facts(entry.facts, text);
  text("state", entry.state);
  text("sweep", trial.sweep);
}

std::vector<std::string_view> column_names() {
  std::vector<std::string_view> names;
  const ReportedTrial any;
  visit_columns(any, [&](const char* name, const auto&) { names.emplace_back(name); });
  return names;
}

std::string cell_of(int64_t value) { return fmt::format("{}", value); }
std::string cell_of(double value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }
std::string cell_of(const std::string& value) { return value; }
std::string cell_of(TrialState value) { return std::string(enum_name(value)); }

// Which cell of a line is which column. Throws Error unless the first line names each once.
std::map<std::string, size_t> read_header(const CsvLine& line, const std::string& path) {
  const std::vector<std::string_view> wanted = column_names();
  std::map<std::string, size_t> header;
  for (size_t i = 0; i < line.cells.size(); ++i) {
    const std::string& name = line.cells[i];
    const bool is_known = std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    ENGRAM_CHECK(is_known, path, ":1: column ", shown_text(name), ": is not one of a results.csv; wanted ",
                 joined(wanted));
    ENGRAM_CHECK(header.emplace(name, i).second, path, ":1: column ", name, ": is there twice; wanted it once");
  }
  std::vector<std::string_view> missing;
  std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(missing),
               [&](std::string_view name) { return header.count(std::string(name)) == 0; });
  ENGRAM_CHECK(missing.empty(), path, ":1: column ", joined(missing),
               ": is missing; wanted a results.csv that `engram sweep report` wrote");
  return header;
}

// Takes the columns of a trial from a line.
class RowReader {
 public:
  RowReader(const std::string& path, const std::map<std::string, size_t>& header, const CsvLine& line)
      : path_(path), header_(header), line_(line) {
    ENGRAM_CHECK(line.cells.size() == header.size(), path, ":", line.number, ": got ", line.cells.size(),
                 " columns, wanted ", header.size(), ", as in line 1");
  }

  void operator()(const char* name, int64_t& value) const {
    check(parse(cell(name), value) && value >= 0, name, "a whole number, 0 or more");
  }
  void operator()(const char* name, double& value) const {
    value = kNotMeasured;
    if (cell(name).empty()) return;
    check(parse(cell(name), value) && std::isfinite(value) && value >= 0, name, "a number, 0 or more, or nothing");
  }
  void operator()(const char* name, std::string& value) const { value = cell(name); }
  void operator()(const char* name, TrialState& value) const { value = named<TrialState>(name); }

  // What holds for every trial, whatever its state.
  void check_point(const TrialFacts& facts) const {
    check(std::isfinite(facts.budget), "budget", "a number");
    const bool has_ratio = named<SweepKind>("kind") != SweepKind::kMemory;
    check(std::isfinite(facts.ratio) || !has_ratio, "ratio", "a number, as its kind is not memory");
    check(!cell("sweep").empty(), "sweep", "the name of a sweep");
  }

 private:
  const std::string& cell(const char* name) const { return line_.cells[header_.at(name)]; }

  template <class Number>
  static bool parse(const std::string& text, Number& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
  }

  template <class Enum>
  Enum named(const char* name) const {
    const auto found = enum_named<Enum>(cell(name));
    check(found.has_value(), name, "one of " + joined(enum_names(Enum{})));
    return *found;
  }

  void check(bool holds, const char* name, const std::string& wanted) const {
    ENGRAM_CHECK(holds, path_, ":", line_.number, ": column ", name, ": got ",
                 cell(name).empty() ? "nothing" : shown_text(cell(name)), ", wanted ", wanted);
  }

  const std::string& path_;
  const std::map<std::string, size_t>& header_;
  const CsvLine& line_;
};

}  // namespace

std::string results_csv(const std::vector<ReportedTrial>& trials) {
  const std::vector<std::string_view> names = column_names();
  std::string text = csv_line({names.begin(), names.end()});
  for (const ReportedTrial& trial : trials) {
    std::vector<std::string> cells;
    visit_columns(trial, [&](const char*, const auto& value) { cells.push_back(cell_of(value)); });
    text += csv_line(cells);
  }
  return text;
}

std::vector<ReportedTrial> read_results_csv(const std::string& path) {
  check_is_file(path, "a results.csv that `engram sweep report` wrote");
  const std::vector<CsvLine> lines = csv_lines(contents_of_file(path), path);
  ENGRAM_CHECK(lines.size() > 1, path, ": has no trial; wanted a results.csv that `engram sweep report` wrote");
  const std::map<std::string, size_t> header = read_header(lines[0], path);
  std::vector<ReportedTrial> trials;
  for (size_t i = 1; i < lines.size(); ++i) {
    const RowReader row(path, header, lines[i]);
    ReportedTrial trial{.sweep = {}, .entry = {}, .validations = {}, .source = path, .line = lines[i].number};
    visit_columns(trial, row);
    row.check_point(trial.entry.facts);
    trials.push_back(std::move(trial));
  }
  return trials;
}

void write_results_hdf5(const std::vector<ReportedTrial>& trials, const std::string& path) {
  std::map<std::string, std::vector<double>> columns;
  std::map<std::string, nlohmann::json> texts;
  for (const ReportedTrial& trial : trials) {
    visit_columns(trial, [&](const char* name, const auto& value) {
      using Value = std::decay_t<decltype(value)>;
      if constexpr (std::is_arithmetic_v<Value>) {
        columns[name].push_back(static_cast<double>(value));
      } else if constexpr (std::is_same_v<Value, TrialState>) {
        texts[name].push_back(enum_name(value));
      } else {
        texts[name].push_back(value);
      }
    });
  }
  Hdf5Writer writer(path);
  for (const auto& [name, values] : columns) writer.write_dataset(name, std::span<const double>(values));
  for (const auto& [name, values] : texts) writer.set_attribute("", name, values.dump());
  writer.close();
}

}  // namespace engram
