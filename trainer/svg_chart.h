#pragma once

#include <span>
#include <string>
#include <vector>

namespace engram {

// One point of a line, which may stand for several values: their mean, the least and the greatest.
struct ChartPoint {
  double x = 0, y = 0, low = 0, high = 0;
};

struct ChartLine {
  std::string name;
  int style = 0;                   // which colour and dashes: see line_classes()
  std::vector<ChartPoint> points;  // ascending by x, all below 1e300
};

struct Chart {
  std::string title, unit;
  std::string x_name;  // "step"
  std::vector<ChartLine> lines;
  std::vector<double> marks;  // positions on the x axis, each a vertical line
};

inline constexpr int kNumLineStyles = 12;

// The classes of html_page.h's style that draw a line: "c1", "c1 dashed".
std::string line_classes(int style);

// The values below 1e300, neighbours drawn together where there are more than `most`.
std::vector<ChartPoint> chart_points(std::span<const double> x, std::span<const double> y, size_t most);

// A <figure> for a page of html_page.h: axes, a line for each that has points, the range of what was drawn together as
// a band. Of many points, the outermost percent may lie outside. Empty where no line has a point.
std::string chart_figure(const Chart& chart);

// Makes the charts above it on the page show their values under the pointer.
std::string chart_script();

}  // namespace engram
