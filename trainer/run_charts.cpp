#include "trainer/run_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "trainer/svg_chart.h"

namespace engram {
namespace {

constexpr size_t kMostMarks = 100;

// How a column is shown. Columns of a section without a description follow the described ones.
struct Described {
  const char *column, *title, *unit;
};
struct Section {
  const char* title;
  const char* prefix;  // of the columns that belong here too; null: none
  std::vector<Described> charts;
};

const std::array<Section, 4>& sections() {
  static const std::array<Section, 4> kSections{{
      {"Training",
       nullptr,
       {{"loss", "Training loss", "nats per token"},
        {"lr", "Learning rate", "of the dense part"},
        {"norm", "Gradient norm", "before clipping"}}},
      {"Experts",
       "experts.",
       {{"experts.max_over_mean", "Busiest expert", "its tokens over the mean"},
        {"experts.dead", "Experts without a token", "share"}}},
      {"Memory tables",
       "engram.",
       {{"engram.rows", "Distinct rows", "of all ranks, in a step"},
        {"engram.unique", "Share of distinct rows", "of the rows asked for"},
        {"engram.imbalance", "Imbalance", "of the rows that ranks serve: deviation over mean"},
        {"engram.bytes", "Bytes exchanged", "sent between ranks for rows and their gradients, in a step"},
        {"engram.gate", "Gate", "mean"},
        {"engram.gate_min", "Least gate", "mean of the layer where it is least"},
        {"engram.gate_max", "Most gate", "mean of the layer where it is most"}}},
      {"Speed",
       "",
       {{"tok_s", "Throughput", "tokens per second"},
        {"flops", "Arithmetic", "model FLOP per second"},
        {"data_wait", "Loading data", "time over that of the step, on CUDA beside it"},
        {"exchange", "Row exchange", "share of the step"},
        {"mem", "Memory", "bytes of rank 0"}}},
  }};
  return kSections;
}

// Events of every run, at its intervals: no mark tells more of them.
bool is_usual(const std::string& kind) {
  return std::set<std::string>{"start", "eval", "save", "rows", "ngrams"}.contains(kind);
}

// NaN where the run does not say.
double step_tokens(const RunRecord& run) { return run.last("tokens") / run.last("step"); }

// Steps are comparable where a step of every run trains on as many tokens, and all there is where one does not say.
bool compares_steps(std::span<const RunRecord> runs) {
  std::set<double> sizes;
  for (const RunRecord& run : runs) {
    const double size = std::round(step_tokens(run));
    if (!std::isfinite(size)) return true;
    sizes.insert(size);
  }
  return sizes.size() == 1;
}

class Charts {
 public:
  explicit Charts(std::span<const RunRecord> runs)
      : runs_(runs),
        x_name_(compares_steps(runs) ? "step" : "tokens"),
        most_points_(std::min<size_t>(300, 1500 / runs.size())) {}

  std::string of_column(const Described& about) {
    done_.insert(about.column);
    Chart chart = empty_chart(about.title, about.unit);
    for (size_t i = 0; i < runs_.size(); ++i) {
      const std::vector<double>& values = runs_[i].column(about.column);
      if (!values.empty()) chart.lines[i].points = chart_points(runs_[i].column(x_name_), values, most_points_);
    }
    return chart_figure(chart);
  }

  std::string of_validation() const {
    Chart chart = empty_chart("Validation loss", "nats per token");
    for (size_t i = 0; i < runs_.size(); ++i) chart.lines[i].points = validations(runs_[i]);
    return chart_figure(chart);
  }

  // Where several runs validated after the same step or token.
  std::string of_difference() const {
    if (runs_.size() < 2) return {};
    Chart chart = empty_chart("Validation loss minus that of " + runs_[0].name, "nats per token");
    const std::vector<ChartPoint> base = validations(runs_[0]);
    for (size_t i = 1; i < runs_.size(); ++i) {
      for (const ChartPoint& point : validations(runs_[i])) {
        const auto same = std::find_if(base.begin(), base.end(), [&](const ChartPoint& p) { return p.x == point.x; });
        if (same == base.end()) continue;
        const double difference = point.y - same->y;
        chart.lines[i].points.push_back({point.x, difference, difference, difference});
      }
    }
    return chart_figure(chart);
  }

  // Of all columns with that prefix that have no chart yet.
  std::string of_others(std::string_view prefix) {
    std::set<std::string> others;
    for (const RunRecord& run : runs_) {
      for (const auto& [name, values] : run.columns) {
        if (name.starts_with(prefix) && !done_.contains(name)) others.insert(name);
      }
    }
    std::string text;
    for (const std::string& name : others) text += of_column({name.c_str(), name.c_str(), ""});
    return text;
  }

 private:
  Chart empty_chart(const std::string& title, const std::string& unit) const {
    Chart chart{.title = title, .unit = unit, .x_name = x_name_, .lines = {}, .marks = {}};
    for (size_t i = 0; i < runs_.size(); ++i) {
      chart.lines.push_back(
          {.name = runs_.size() == 1 ? "" : runs_[i].name, .style = static_cast<int>(i), .points = {}});
    }
    if (runs_.size() > 1) return chart;
    for (const RunEvent& event : runs_[0].events) {
      if (!is_usual(event.kind) && chart.marks.size() < kMostMarks)
        chart.marks.push_back(static_cast<double>(event.step));
    }
    return chart;
  }

  std::vector<ChartPoint> validations(const RunRecord& run) const {
    const double scale = x_name_ == "step" ? 1 : step_tokens(run);
    std::vector<double> x, y;
    for (const RunEvent& event : run.events) {
      x.push_back(static_cast<double>(event.step) * scale);
      y.push_back(event.loss);
    }
    return chart_points(x, y, most_points_);
  }

  std::span<const RunRecord> runs_;
  std::string x_name_;
  size_t most_points_;
  std::set<std::string> done_{"step", "tokens", "skipped", "wall"};
};

}  // namespace

std::string chart_sections(std::span<const RunRecord> runs) {
  Charts charts(runs);
  std::string text;
  for (const Section& section : sections()) {
    std::string figures;
    for (const Described& about : section.charts) {
      figures += charts.of_column(about);
      if (std::string_view(about.column) == "loss") figures += charts.of_validation() + charts.of_difference();
    }
    if (section.prefix != nullptr) figures += charts.of_others(section.prefix);
    if (!figures.empty())
      text += fmt::format("<h2>{}</h2>\n<div class=\"charts\">\n{}</div>\n", section.title, figures);
  }
  return text;
}

}  // namespace engram
