#include "trainer/svg_chart.h"

#include <gtest/gtest.h>

#include <cmath>

#include "trainer/html_page.h"

namespace engram {
namespace {

// How the page looks and what it loads, tests/end_to_end/report_test.py checks.

size_t count(const std::string& text, std::string_view part) {
  size_t num_found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++num_found;
  return num_found;
}

Chart chart_of(std::vector<ChartPoint> points) {
  return {.title = "a < b", .unit = "", .x_name = "step", .lines = {{"run", 7, std::move(points)}}, .marks = {}};
}

TEST(ChartPoints, FewStayAsTheyAreWithoutWhatHasNoPlace) {
  const std::vector<double> x{1, 2, 3, 4}, y{5, NAN, -1e308, 8};
  const auto points = chart_points(x, y, 4);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[1].x, 4);
  EXPECT_EQ(points[1].y, 8);
  EXPECT_EQ(points[1].low, 8);
  EXPECT_TRUE(chart_points({}, {}, 4).empty());
}

TEST(ChartPoints, NeighboursAreDrawnTogether) {
  const std::vector<double> x{1, 2, 3, 4, 5}, y{1, 3, 8, -2, 7};
  const auto points = chart_points(x, y, 3);
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].x, 2);
  EXPECT_EQ(points[0].y, 2);
  EXPECT_EQ(points[1].low, -2);
  EXPECT_EQ(points[1].high, 8);
  EXPECT_EQ(points[2].y, 7);  // alone
}

TEST(ChartFigure, OfNothingIsEmpty) { EXPECT_EQ(chart_figure(chart_of({})), ""); }

TEST(ChartFigure, OfOneValueHasRoomAroundIt) {
  const std::string svg = chart_figure(chart_of({{5, 2, 2, 2}}));
  EXPECT_NE(svg.find("points=\"560.0,110.0 \""), std::string::npos) << svg;
  EXPECT_EQ(count(svg, "nan"), 0u);
  EXPECT_EQ(count(svg, "<circle"), 1u);
  EXPECT_EQ(count(svg, "a &lt; b"), 2u);
}

TEST(ChartFigure, ValuesThatNoStepTellsApartHaveRoomAroundThem) {
  EXPECT_NE(chart_figure(chart_of({{1, 0, 0, 0}, {2, 5e-324, 5e-324, 5e-324}})).find("-1.1 1.1\""), std::string::npos);
}

TEST(ChartFigure, TheOutermostOfManyPointsDoNotSetTheAxis) {
  std::vector<ChartPoint> points;
  for (int i = 0; i < 100; ++i) points.push_back({double(i), double(i % 10), double(i % 10), double(i % 10)});
  points[50].y = 1e9;
  const std::string svg = chart_figure(chart_of(points));
  EXPECT_NE(svg.find("data-range=\"0 99 -0.45 9.45\""), std::string::npos) << svg.substr(0, 3000);
  EXPECT_EQ(count(svg, "<polygon"), 0u);
  points[3].high = 11;
  EXPECT_EQ(count(chart_figure(chart_of(points)), "<polygon"), 1u);
}

TEST(ChartFigure, LinesOfAllStylesDiffer) {
  EXPECT_EQ(line_classes(1), "c1");
  EXPECT_EQ(line_classes(7), "c1 dashed");
  EXPECT_EQ(line_classes(kNumLineStyles), "c0");
}

TEST(HtmlPage, TextIsNotMarkup) {
  EXPECT_EQ(table_row("td", {"<a b=\"&\">"}), "<tr><td>&lt;a b=&quot;&amp;&quot;&gt;</td></tr>\n");
}

}  // namespace
}  // namespace engram
