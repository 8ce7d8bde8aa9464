#include <fmt/format.h>

#include <cmath>
#include <map>

#include "trainer/html_page.h"
#include "trainer/progress.h"
#include "trainer/sweep_published.h"
#include "trainer/sweep_report.h"

namespace engram {
namespace {

std::string number(double value, int digits = 4) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "-";
}
std::string mean_text(const CurveArm& arm, int digits = 4) {
  return arm.losses.empty() ? "-" : number(arm.mean(), digits);
}
std::string interval_text(const std::optional<Interval>& interval, int digits = 4) {
  return interval ? fmt::format("{} to {}", number(interval->low, digits), number(interval->high, digits)) : "-";
}
std::string difference_text(const Difference& difference) {
  return fmt::format("{:+.4f} ({})", difference.mean, interval_text(difference.interval));
}

// Mean and interval of the differences of `arm` to the losses of `other`; "-" without it.
std::vector<std::string> difference_cells(const CurveArm& arm, const ReportedPoint* other) {
  if (other == nullptr || arm.losses.empty()) return {"-", "-"};
  const Difference difference = paired_difference(arm, other->loss);
  return {fmt::format("{:+.4f}", difference.mean), interval_text(difference.interval)};
}

std::vector<std::string> joined(std::vector<std::string> cells, const std::vector<std::string>& more) {
  cells.insert(cells.end(), more.begin(), more.end());
  return cells;
}

std::string points_table(const ReportedBudget& budget, const ReportedPoint* pure) {
  std::string text = "<table>\n";
  text += table_row("th", {"point", "achieved", "experts", "tables", "total", "active", "seeds", "loss", "deviation",
                           "to pure MoE", "95 % over seeds"});
  for (const ReportedPoint& point : budget.curve) {
    const TrialFacts& f = point.facts;
    const std::vector<std::string> cells{point_label(f),
                                         number(f.achieved),
                                         fmt::format("{}", f.experts),
                                         scaled_text(static_cast<double>(f.table_parameters)),
                                         scaled_text(static_cast<double>(f.total_parameters)),
                                         scaled_text(static_cast<double>(f.active_parameters)),
                                         fmt::format("{}", point.loss.losses.size()),
                                         mean_text(point.loss),
                                         number(point.loss.deviation())};
    text += table_row("td", joined(cells, difference_cells(point.loss, pure)));
  }
  return text + "</table>\n";
}

std::string time_table(const ReportedBudget& budget, const ReportedPoint* pure) {
  std::string text = "<table>\n";
  text += table_row("th", {"point", "tok/s", "tokens to its loss", "95 % over seeds", "by runs that ended",
                           "95 % over seeds", "loss at its time", "to pure MoE", "95 % over seeds"});
  for (const ReportedPoint& point : budget.curve) {
    const std::vector<std::string> cells{
        point_label(point.facts),          scaled_text(point.tok_s.mean()),
        mean_text(point.token_share, 3),   interval_text(point.token_share.interval(), 3),
        mean_text(point.decayed_share, 3), interval_text(point.decayed_share.interval(), 3),
        mean_text(point.equal_time)};
    text += table_row("td", joined(cells, difference_cells(point.equal_time, pure)));
  }
  text += table_row("td", {"published", "-", number(kPublishedTokenShare, 3), "-", "-", "-", "-", "-", "-"});
  return text + "</table>\n";
}

std::string controls_table(const SweepReport& report, const ReportedBudget& budget, const ReportedPoint* pure) {
  std::string text = "<table>\n";
  text += table_row("th", {"control", "active", "tok/s", "seeds", "loss", "deviation", "to unchanged point",
                           "95 % over seeds", "to pure MoE", "95 % over seeds"});
  for (const ReportedPoint& point : budget.controls) {
    const std::vector<std::string> cells{
        point_label(point.facts),        scaled_text(static_cast<double>(point.facts.active_parameters)),
        scaled_text(point.tok_s.mean()), fmt::format("{}", point.loss.losses.size()),
        mean_text(point.loss),           number(point.loss.deviation())};
    const auto to_unchanged = difference_cells(point.loss, unchanged_point(report, budget, point));
    text += table_row("td", joined(joined(cells, to_unchanged), difference_cells(point.loss, pure)));
  }
  return text + "</table>\n";
}

std::vector<std::string> fit_cells(const std::string& name, const CurveFit& fit) {
  return {name,
          fit.fit.a > 0 ? number(fit.fit.minimum(), 3) : "none",
          fit.fit.a > 0 ? number(fit.fit.at(fit.fit.minimum())) : "-",
          interval_text(fit.minimum_by_seeds, 3),
          interval_text(fit.minimum_by_residuals, 3),
          interval_text(fit.minimum_by_cases, 3),
          fmt::format("{:+.4f}", fit.fit.a),
          interval_text(fit.curvature_by_seeds),
          fmt::format("{:.1f} %", 100 * fit.convex_share),
          number(fit.fit.rms)};
}

std::string verdict(const ShapeTest& shape, const std::vector<CurveArm>& arms) {
  std::string text = "<p class=\"verdict\">";
  if (!shape.can_tell) {
    text +=
        "Whether the curve is U-shaped cannot be told: the test needs two seeds or more at the ends and the best "
        "point, "
        "and three points besides ratio 1.";
  } else {
    text += fmt::format("U shape {}. ", shape.is_u() ? "<b>confirmed</b>" : "<b>not confirmed</b>");
    text += fmt::format(
        "The left end is {}worse than the best point beyond the noise of the seeds, the right end is {}, and "
        "the curvature without ratio 1 is {}positive.",
        shape.left_holds ? "" : "not ", shape.right_holds ? "worse" : "not",
        shape.curvature_holds ? "" : "not surely ");
  }
  return text + fmt::format(" Best measured point: {:.4g}; left end minus it {}, right end minus it {}.</p>\n",
                            arms[shape.best].x, difference_text(shape.left), difference_text(shape.right));
}

std::string curve_section(const ReportedBudget& budget) {
  const std::vector<CurveArm> arms = arms_of(budget);
  if (arms.size() < 3) return "<p>Fewer than three points are done: no fit.</p>\n";
  const CurveAnalysis analysis = analyse_curve(arms);
  std::string text = verdict(analysis.shape, arms) + "<table>\n";
  text += table_row("th", {"quadratic fit", "minimum", "loss there", "95 % over seeds", "95 % by residuals",
                           "95 % by cases", "curvature", "95 % over seeds", "convex", "rms"});
  text += table_row("td", fit_cells("all points", analysis.all));
  if (analysis.without_pure) text += table_row("td", fit_cells("without ratio 1", *analysis.without_pure));
  for (const auto& [name, points] :
       {std::pair<const char*, std::span<const DataPoint>>{"published, 6e20 FLOPs", kPublished6e20},
        {"published, 2e20 FLOPs", kPublished2e20}}) {
    const std::vector<CurveArm> published = arms_of(points);
    text += table_row("td", fit_cells(name, fit_curve(published)));
    text +=
        table_row("td", fit_cells(std::string(name) + ", without ratio 1", fit_curve(std::span(published).first(9))));
  }
  return text + "</table>\n";
}

std::vector<std::string> line_cells(const std::string& name, const std::vector<CurveArm>& arms) {
  if (arms.size() < 2) return {name, fmt::format("{}", arms.size()), "-", "-", "-", "-"};
  const LogLinearFit fit = fit_log_linear(arms);
  return {name,
          fmt::format("{}", arms.size()),
          fmt::format("{:+.5f}", fit.line.slope),
          interval_text(fit.slope_by_seeds, 5),
          fmt::format("{:+.4f}", fit.line.slope * std::log10(2)),
          number(fit.line.rms)};
}

std::string memory_section(const ReportedBudget& budget) {
  std::string text = "<table>\n";
  text += table_row("th", {"line over log10(table parameters)", "sizes", "loss per tenfold table", "95 % over seeds",
                           "per doubling", "rms"});
  for (const MemoryLine& line : memory_lines(budget)) {
    text += table_row("td", line_cells(line.control.empty() ? "the curve" : line.control, line.arms));
  }
  text += table_row("td", line_cells("published, Engram", arms_of(kPublishedMemory)));
  text += table_row("td", line_cells("published, OverEncoding", arms_of(kPublishedOverEncoding)));
  return text + "</table>\n";
}

std::string trials_table(const SweepReport& report) {
  std::string text = "<details><summary>All trials</summary>\n<table class=\"trials\">\n";
  text += table_row("th", {"trial", "sweep", "state", "point", "budget", "seed", "loss", "train loss", "seconds",
                           "starts", "reason"});
  for (const ReportedTrial& trial : report.trials) {
    const TrialEntry& entry = trial.entry;
    text += table_row(
        "td", {fmt::format("{}", entry.number), trial.sweep, std::string(enum_name(entry.state)),
               point_label(entry.facts), fmt::format("{:g}", entry.facts.budget), fmt::format("{}", entry.facts.seed),
               number(entry.outcome.loss), number(entry.outcome.train_loss), number(entry.outcome.seconds, 1),
               fmt::format("{}", entry.starts), entry.reason});
  }
  return text + "</table></details>\n";
}

// What trials that were read from a results.csv leave out; "" where there are none.
std::string csv_note(const SweepReport& report) {
  std::map<std::string, int64_t> counts;
  for (const ReportedTrial& trial : report.trials) {
    const bool is_read = trial.line > 0 && is_done(trial);
    counts[trial.sweep] += is_read ? 1 : 0;
  }
  std::string parts;
  for (const auto& [sweep, count] : counts) {
    if (count > 0) parts += fmt::format("{}{} trials of {}", parts.empty() ? "" : ", ", count, escaped(sweep));
  }
  if (parts.empty()) return "";
  return fmt::format(
      "<p>Read from a results.csv, which has no validation curves: {}. Loss at the pure MoE's time and tokens to its "
      "loss, but for those by runs that ended, are left out for them.</p>\n",
      parts);
}

constexpr const char* kNotes = R"(<h2>How to read it</h2>
<p>Losses are nats per token on held-out text. Totals and active parameters are without embedding and head.
Differences are paired by seed; fits take the seeds that all points have, where there are any; intervals are of 95 %,
by resampling the seeds within each point, and for comparison the residuals of the fit and the points themselves. With
few seeds such intervals are too narrow. "U shape confirmed" means: both ends are worse than the best interior point
with intervals above 0, and the curvature of the fit without ratio 1 is positive with its interval. "Loss at its time"
is read from a trial's validations at the moment when the pure MoE of the same seed had finished, "tokens to its loss"
is the share of the pure MoE's tokens after which its final loss was reached, over the seeds that reach it and do not
begin below it; both underrate a trial whose learning rate was still high at that moment. "By runs that ended" is that
share between final losses, where the model was also trained with fewer tokens. The unchanged point of a control is
that of the curve at its ratio or size. A line over the logarithm of the tables' size leaves out the point without
tables. Published points are one run each.</p>
)";

std::string budget_section(const SweepReport& report, const ReportedBudget& budget) {
  std::string text = fmt::format("<h2>{}, {}, budget {:g}</h2>\n", escaped(budget.sweep), budget.kind, budget.budget);
  if (budget.num_missing > 0) text += fmt::format("<p>{} trials are not done.</p>\n", budget.num_missing);
  const ReportedBudget& reference = reference_of(report, budget);
  if (&reference != &budget) {
    text += fmt::format("<p>Compared with {}, of the same budget and tokens.</p>\n", escaped(reference.sweep));
  }
  const ReportedPoint* pure = pure_point(reference);
  if (!budget.curve.empty()) {
    text += budget.kind == enum_name(SweepKind::kMemory) ? memory_section(budget) : curve_section(budget);
    text += points_table(budget, pure) + time_table(budget, pure);
  }
  return budget.controls.empty() ? text : text + controls_table(report, budget, pure);
}

}  // namespace

std::string report_html(const SweepReport& report, const std::vector<std::string>& figures) {
  std::string text = page_begin("Sweep report") + "<h1>Sweep report</h1>\n" + csv_note(report);
  for (const ReportedBudget& budget : report.budgets) {
    text += budget_section(report, budget);
  }
  for (const std::string& figure : figures) text += "<figure>" + figure + "</figure>\n";
  if (figures.empty()) text += "<p>No figures: scripts/plot_sweep.py draws them where matplotlib is installed.</p>\n";
  return text + trials_table(report) + kNotes + page_end();
}

}  // namespace engram
