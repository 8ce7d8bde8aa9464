#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/sweep_published.h"
#include "trainer/sweep_report.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Interval& interval) { return Json::array({interval.low, interval.high}); }
Json json_of(const std::optional<Interval>& interval) { return interval ? json_of(*interval) : Json(nullptr); }

Json json_of(const CurveArm& arm) {
  Json json{{"seeds", arm.seeds}, {"values", arm.losses}};
  json["mean"] = arm.losses.empty() ? kNotMeasured : arm.mean();
  json["deviation"] = arm.deviation();
  json["interval"] = json_of(arm.interval());
  return json;
}

Json json_of(const Difference& difference) {
  return {{"mean", difference.mean}, {"interval", json_of(difference.interval)}, {"pairs", difference.pairs}};
}

Json json_of(const CurveFit& fit) {
  return {{"a", fit.fit.a},
          {"b", fit.fit.b},
          {"c", fit.fit.c},
          {"rms", fit.fit.rms},
          {"minimum", fit.fit.minimum()},
          {"loss_at_minimum", fit.fit.at(fit.fit.minimum())},
          {"minimum_by_seeds", json_of(fit.minimum_by_seeds)},
          {"minimum_by_residuals", json_of(fit.minimum_by_residuals)},
          {"minimum_by_cases", json_of(fit.minimum_by_cases)},
          {"curvature_by_seeds", json_of(fit.curvature_by_seeds)},
          {"curvature_by_cases", json_of(fit.curvature_by_cases)},
          {"convex_share", fit.convex_share}};
}

Json json_of(const ReportedPoint& point, const ReportedPoint* pure, const ReportedPoint* unchanged) {
  Json json{{"x", point.loss.x},
            {"control", point.facts.control},
            {"label", point_label(point.facts)},
            {"achieved", point.facts.achieved},
            {"experts", point.facts.experts},
            {"table_parameters", point.facts.table_parameters},
            {"total_parameters", point.facts.total_parameters},
            {"active_parameters", point.facts.active_parameters},
            {"loss", json_of(point.loss)},
            {"equal_time", json_of(point.equal_time)},
            {"token_share", json_of(point.token_share)},
            {"decayed_share", json_of(point.decayed_share)}};
  if (pure != nullptr) json["to_pure"] = json_of(paired_difference(point.loss, pure->loss));
  if (unchanged != nullptr) json["to_unchanged"] = json_of(paired_difference(point.loss, unchanged->loss));
  return json;
}

Json json_of(const ShapeTest& shape, const std::vector<CurveArm>& arms) {
  return {{"best", arms[shape.best].x},
          {"left_end_minus_best", json_of(shape.left)},
          {"right_end_minus_best", json_of(shape.right)},
          {"left_holds", shape.left_holds},
          {"right_holds", shape.right_holds},
          {"curvature_holds", shape.curvature_holds},
          {"can_tell", shape.can_tell},
          {"is_u", shape.is_u()}};
}

Json json_of(const LogLinearFit& fit) {
  return {{"intercept", fit.line.intercept},
          {"slope", fit.line.slope},
          {"rms", fit.line.rms},
          {"slope_by_seeds", json_of(fit.slope_by_seeds)}};
}

Json json_of(const SweepReport& report, const ReportedBudget& budget) {
  const ReportedBudget& reference = reference_of(report, budget);
  const ReportedPoint* pure = pure_point(reference);
  Json json{{"sweep", budget.sweep}, {"kind", budget.kind}, {"budget", budget.budget}, {"missing", budget.num_missing}};
  json["curve"] = json["controls"] = Json::array();
  json["reference"] = reference.sweep;
  for (const ReportedPoint& point : budget.curve) json["curve"].push_back(json_of(point, pure, nullptr));
  for (const ReportedPoint& point : budget.controls) {
    json["controls"].push_back(json_of(point, pure, unchanged_point(report, budget, point)));
  }
  if (pure != nullptr) json["pure"] = json_of(pure->loss);
  if (budget.kind == enum_name(SweepKind::kMemory)) {
    json["log_linear"] = Json::array();
    for (const MemoryLine& line : memory_lines(budget)) {
      if (line.arms.size() < 2) continue;
      json["log_linear"].push_back(json_of(fit_log_linear(line.arms)));
      json["log_linear"].back()["control"] = line.control;
    }
    return json;
  }
  const std::vector<CurveArm> arms = arms_of(budget);
  if (arms.size() < 3) return json;
  const CurveAnalysis analysis = analyse_curve(arms);
  json["all"] = json_of(analysis.all);
  if (analysis.without_pure) json["without_pure"] = json_of(*analysis.without_pure);
  json["shape"] = json_of(analysis.shape, arms);
  return json;
}

template <size_t N>
Json published(const std::array<DataPoint, N>& points) {
  Json json = Json::array();
  for (const DataPoint& point : points) json.push_back(Json::array({point.x, point.y}));
  return json;
}

}  // namespace

std::string analysis_json(const SweepReport& report) {
  Json json{{"published",
             {{"6e20", published(kPublished6e20)},
              {"2e20", published(kPublished2e20)},
              {"memory", published(kPublishedMemory)},
              {"over_encoding", published(kPublishedOverEncoding)},
              {"memory_fit", json_of(fit_log_linear(arms_of(kPublishedMemory)))},
              {"over_encoding_fit", json_of(fit_log_linear(arms_of(kPublishedOverEncoding)))}}}};
  json["budgets"] = Json::array();
  for (const ReportedBudget& budget : report.budgets) json["budgets"].push_back(json_of(report, budget));
  return json.dump(1) + "\n";
}

}  // namespace engram
