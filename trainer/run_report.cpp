#include "trainer/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/accounting.h"
#include "trainer/config.h"
#include "trainer/html_page.h"
#include "trainer/metrics.h"
#include "trainer/progress.h"
#include "trainer/run_charts.h"
#include "trainer/svg_chart.h"

namespace engram {
namespace {

constexpr size_t kMostEvents = 200;  // of a run that are shown

std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }
std::string scaled(double value) { return std::isfinite(value) ? scaled_text(value) : "-"; }
std::string field_of(const RunEvent* event, const char* name) {
  const bool has = event != nullptr && event->fields.contains(name);
  return has ? event->fields.at(name) : "-";
}

// Of the finite values; NaN where there is none.
double mean(std::span<const double> values) {
  double sum = 0, count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++count;
  }
  return sum / count;
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return kNotMeasured;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<double> validation_losses(const RunRecord& run) {
  std::vector<double> losses;
  for (const RunEvent& event : run.events) {
    if (std::isfinite(event.loss)) losses.push_back(event.loss);
  }
  return losses;
}

std::string progress_of(const RunRecord& run) {
  const double step = run.last("step");
  if (!run.config) return fmt::format("{:.0f}", step);
  return step >= static_cast<double>(run.config->train.steps)
             ? fmt::format("{:.0f}, finished", step)
             : fmt::format("{:.0f} of {}", step, run.config->train.steps);
}

int64_t count_of(const RunRecord& run, std::string_view kind) {
  return std::count_if(run.events.begin(), run.events.end(), [&](const RunEvent& event) { return event.kind == kind; });
}

std::vector<std::string> outcome_cells(const RunRecord& run) {
  const std::vector<double>& losses = run.column("loss");
  const std::vector<double> validations = validation_losses(run);
  const bool has_validation = !validations.empty();
  const std::optional<ParameterCount> count =
      run.config ? std::optional(count_parameters(run.config->model)) : std::nullopt;
  const auto last = std::span(losses).last((losses.size() + 9) / 10);
  return {run.name,
          progress_of(run),
          scaled(run.last("tokens")),
          number(mean(last)),
          number(has_validation ? validations.back() : kNotMeasured),
          number(has_validation ? *std::min_element(validations.begin(), validations.end()) : kNotMeasured),
          scaled(median(run.column("tok_s"))),
          count ? scaled(static_cast<double>(count->total())) : "-",
          count ? scaled(static_cast<double>(count->active())) : "-",
          count ? scaled(static_cast<double>(count->engram_tables)) : "-",
          fmt::format("{}", count_of(run, "resume")),
          fmt::format("{}", count_of(run, "skip"))};
}

std::string outcome_table(std::span<const RunRecord> runs) {
  std::string text =
      "<table>\n" + table_row("th", {"run", "step", "tokens", "training loss", "validation loss", "its best", "tok/s",
                                     "parameters", "active", "in tables", "resumed", "skipped"});
  for (const RunRecord& run : runs) text += table_row("td", outcome_cells(run));
  return text +
         "</table>\n<p class=\"note\">Training loss: mean of the last tenth; tok/s: median. Losses in nats per "
         "token.</p>\n";
}

std::string legend(std::span<const RunRecord> runs) {
  if (runs.size() == 1) return {};
  std::string text = "<p class=\"legend\">";
  for (size_t i = 0; i < runs.size(); ++i) {
    text +=
        fmt::format("<span><svg viewBox=\"0 0 26 10\"><line class=\"{}\" x2=\"26\" y1=\"5\" y2=\"5\"/></svg>{}</span>",
                    line_classes(static_cast<int>(i)), escaped(runs[i].name));
  }
  return text + "</p>\n";
}

// All but validations, which have a chart, lists of n-grams, and checkpoints, of which the last says enough.
std::string events_table(const RunRecord& run) {
  std::vector<const RunEvent*> shown;
  const RunEvent* last_save = run.last_event({"save"});
  for (const RunEvent& event : run.events) {
    if (event.kind != "eval" && event.kind != "ngrams" && (event.kind != "save" || &event == last_save))
      shown.push_back(&event);
  }
  const size_t num_hidden = shown.size() > kMostEvents ? shown.size() - kMostEvents : 0;
  std::string text = fmt::format("<h3>{}</h3>\n", escaped(run.name));
  if (num_hidden > 0) text += fmt::format("<p>{} earlier events are left out.</p>\n", num_hidden);
  text += "<table class=\"texts\">\n" + table_row("th", {"step", "event", "time", ""});
  for (const RunEvent* event : std::span(shown).subspan(num_hidden)) {
    std::string fields;
    for (const auto& [name, value] : event->fields)
      fields += fmt::format("{}{} {}", fields.empty() ? "" : ", ", name, value);
    constexpr size_t kLongest = 200;
    if (fields.size() > kLongest) fields = fields.substr(0, kLongest) + " ...";
    text += table_row("td", {fmt::format("{}", event->step), event->kind, event->time, fields});
  }
  return text + "</table>\n";
}

// A row per key that is not alike in all runs, or not the default where there is one run.
std::string config_table(std::span<const RunRecord> runs) {
  std::vector<std::vector<ConfigEntry>> entries;
  std::vector<std::string> head{"key"};
  for (const RunRecord& run : runs) {
    entries.push_back(config_entries(run.config.value_or(RunConfig{})));
    head.push_back(run.name);
  }
  std::string text = "<table class=\"texts\">\n" + table_row("th", head);
  for (size_t i = 0; i < entries[0].size(); ++i) {
    std::vector<std::string> cells{entries[0][i].path};
    std::set<std::string> distinct;
    for (size_t r = 0; r < runs.size(); ++r) {
      cells.push_back(runs[r].config ? entries[r][i].value : "-");
      distinct.insert(cells.back());
    }
    if (runs.size() == 1 ? !entries[0][i].is_default : distinct.size() > 1) text += table_row("td", cells);
  }
  return text + "</table>\n";
}

std::string config_section(std::span<const RunRecord> runs) {
  std::string text = fmt::format("<h2>{}</h2>\n",
                                 runs.size() == 1 ? "Configuration, but for defaults" : "Differences of configuration");
  text += config_table(runs);
  for (const RunRecord& run : runs) {
    if (!run.config) continue;
    text += fmt::format("<details><summary>Whole configuration of {}</summary><pre>{}</pre></details>\n",
                        escaped(run.name), escaped(print_config(*run.config)));
  }
  return text;
}

std::string environment_table(std::span<const RunRecord> runs) {
  std::string text = "<h2>Environment</h2>\n<table class=\"texts\">\n";
  text +=
      table_row("th", {"run", "commit", "host", "device", "ranks", "started", "last event", "configuration", "data"});
  for (const RunRecord& run : runs) {
    const RunEvent* start = run.last_event({"start", "resume"});
    text += table_row("td", {run.name, field_of(start, "commit"), field_of(start, "host"), field_of(start, "device"),
                             field_of(start, "ranks"), run.events.empty() ? "-" : run.events.front().time,
                             run.events.empty() ? "-" : run.events.back().time, field_of(start, "config_digest"),
                             field_of(start, "data_digest")});
  }
  return text + "</table>\n";
}

}  // namespace

std::string run_report_html(std::span<const RunRecord> runs) {
  ENGRAM_CHECK(!runs.empty() && runs.size() <= kMostReportedRuns, "report: ", runs.size(), " runs; wanted 1 to ",
               kMostReportedRuns);
  std::string names;
  for (const RunRecord& run : runs) names += (names.empty() ? "" : ", ") + run.name;
  std::string text = page_begin("engram: " + names) + fmt::format("<h1>{}</h1>\n", escaped(names));
  text += outcome_table(runs) + legend(runs) + chart_sections(runs) + "<h2>Events</h2>\n";
  for (const RunRecord& run : runs) text += events_table(run);
  return text + config_section(runs) + environment_table(runs) + chart_script() + page_end();
}

}  // namespace engram
