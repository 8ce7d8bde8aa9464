#include "trainer/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "trainer/html_page.h"

namespace engram {
namespace {

// In units of the picture; its width is that of the page's column.
constexpr double kWidth = 560, kHeight = 220;                      // of the plot
constexpr double kLeft = 52, kRight = 14, kTop = 8, kBottom = 22;  // around it
constexpr double kLeastRange = 1e-300, kLargest = 1e300;           // of an axis: beyond them no step is a number
constexpr size_t kFewPoints = 40;  // of a line: each gets a dot, and none may lie outside

struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Position of a value, from 0 at the low end to 1.
  double share(double value) const { return (value - low) / (high - low); }
};

// An axis of one value gets room around it.
Axis widened(Axis axis) {
  if (axis.high - axis.low >= kLeastRange) return axis;
  const double room = std::abs(axis.low) < kLeastRange ? 1 : std::abs(axis.low) / 2;
  return {axis.low - room, axis.high + room};
}

Axis x_axis(const Chart& chart) {
  Axis axis;
  for (const ChartLine& line : chart.lines) {
    for (const ChartPoint& point : line.points) axis.include(point.x);
  }
  if (axis.low > 0) axis.low = 0;  // so that all charts of a page have the same
  return widened(axis);
}

// Holds every line but the outermost percent of its points.
Axis y_axis(const Chart& chart) {
  Axis axis;
  for (const ChartLine& line : chart.lines) {
    if (line.points.empty()) continue;
    std::vector<double> values;
    for (const ChartPoint& point : line.points) values.push_back(point.y);
    std::sort(values.begin(), values.end());
    const size_t outside = values.size() <= kFewPoints ? 0 : (values.size() + 99) / 100;
    axis.include(values[outside]);
    axis.include(values[values.size() - 1 - outside]);
  }
  axis = widened(axis);
  const double room = (axis.high - axis.low) / 20;
  return {axis.low - room, axis.high + room};
}

// 1, 2 or 5 times a power of ten: the least that makes at most `most` steps.
double tick_step(const Axis& axis, int most) {
  const double least = (axis.high - axis.low) / most;
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least) return factor * power;
  }
  return 10 * power;
}

std::string tick_text(double value) {
  constexpr std::array<const char*, 5> kSuffixes{"", "k", "M", "G", "T"};
  size_t suffix = 0;
  for (; std::abs(value) >= 1000 && suffix + 1 < kSuffixes.size(); ++suffix) value /= 1000;
  return fmt::format("{:.6g}{}", value, kSuffixes[suffix]);
}

// Calls use(value, share of the axis) at each tick.
template <class Use>
void each_tick(const Axis& axis, int most, const Use& use) {
  const double step = tick_step(axis, most);
  for (auto number = static_cast<int64_t>(std::ceil(axis.low / step)); static_cast<double>(number) * step <= axis.high;
       ++number) {
    use(static_cast<double>(number) * step, axis.share(static_cast<double>(number) * step));
  }
}

std::string axes_svg(const Axis& x, const Axis& y) {
  std::string lines, labels;
  each_tick(y, 5, [&](double value, double share) {
    const double at = kTop + (1 - share) * kHeight;
    lines += fmt::format("M{} {:.1f}h{}", kLeft, at, kWidth);
    labels +=
        fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 6, at + 4, tick_text(value));
  });
  each_tick(x, 6, [&](double value, double share) {
    const double at = kLeft + share * kWidth;
    lines += fmt::format("M{:.1f} {}v{}", at, kTop, kHeight);
    labels += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>", at, kTop + kHeight + 16,
                          tick_text(value));
  });
  return fmt::format("<path class=\"grid\" d=\"{}\"/>{}", lines, labels);
}

std::string position(const Axis& x, const Axis& y, double at_x, double at_y) {
  return fmt::format("{:.1f},{:.1f} ", x.share(at_x) * kWidth, (1 - y.share(at_y)) * kHeight);
}

std::string line_svg(const ChartLine& line, const Axis& x, const Axis& y) {
  std::string curve, upper, lower, dots;
  const std::string color = fmt::format("c{}", line.style % (kNumLineStyles / 2));
  for (const ChartPoint& point : line.points) {
    curve += position(x, y, point.x, point.y);
    upper += position(x, y, point.x, point.high);
    lower = position(x, y, point.x, point.low) + lower;
    if (line.points.size() <= kFewPoints) {
      dots += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.4\"/>", color,
                          x.share(point.x) * kWidth, (1 - y.share(point.y)) * kHeight);
    }
  }
  const auto is_wide = [](const ChartPoint& point) { return point.high > point.low; };
  std::string svg;
  if (std::any_of(line.points.begin(), line.points.end(), is_wide)) {
    svg += fmt::format("<polygon class=\"{}\" points=\"{}{}\"/>", color, upper, lower);
  }
  return svg + fmt::format("<polyline class=\"{}\" data-name=\"{}\" points=\"{}\"/>{}\n", line_classes(line.style),
                           escaped(line.name), curve, dots);
}

// Values are read back from the lines' own points, so that none is in the page twice.
constexpr const char* kScript = R"(
for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector("svg svg"), cursor = plot.querySelector(".cursor");
  const shown = chart.querySelector("output"), lines = [...plot.querySelectorAll("polyline")];
  const [left, right, bottom, top] = plot.dataset.range.split(" ").map(Number);
  const width = plot.width.baseVal.value, height = plot.height.baseVal.value;
  const text = value => Math.abs(value) >= 1e4 ? Math.round(value).toLocaleString("en") : +value.toPrecision(4);
  chart.addEventListener("pointermove", event => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(lines[0].getScreenCTM().inverse()).x;
    const found = lines.map(line => [line, [...line.points].reduce((a, b) =>
      Math.abs(b.x - at) < Math.abs(a.x - at) ? b : a)]);
    const x = found[0][1].x;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = "visible";
    shown.textContent = chart.dataset.x + " " + text(Math.round(left + x / width * (right - left))) + ": " +
      found.map(([line, p]) => line.dataset.name + " " + text(top - p.y / height * (top - bottom))).join(", ");
  });
  chart.addEventListener("pointerleave", () => {
    cursor.style.visibility = "hidden";
    shown.textContent = "";
  });
}
)";

}  // namespace

std::string line_classes(int style) {
  constexpr int kNumColors = kNumLineStyles / 2;
  return fmt::format("c{}{}", style % kNumColors, style % kNumLineStyles < kNumColors ? "" : " dashed");
}

std::vector<ChartPoint> chart_points(std::span<const double> x, std::span<const double> y, size_t most) {
  std::vector<ChartPoint> drawn;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::abs(x[i]) < kLargest && std::abs(y[i]) < kLargest) drawn.push_back({x[i], y[i], y[i], y[i]});
  }
  const size_t together = (drawn.size() + most - 1) / most;
  if (together <= 1) return drawn;
  std::vector<ChartPoint> points;
  for (size_t begin = 0; begin < drawn.size(); begin += together) {
    const std::span group = std::span(drawn).subspan(begin, std::min(together, drawn.size() - begin));
    ChartPoint point{.x = group.back().x, .y = 0, .low = group[0].y, .high = group[0].y};
    for (const ChartPoint& one : group) {
      point.y += one.y / static_cast<double>(group.size());
      point.low = std::min(point.low, one.y);
      point.high = std::max(point.high, one.y);
    }
    points.push_back(point);
  }
  return points;
}

std::string chart_figure(const Chart& chart) {
  const auto has_points = [](const ChartLine& line) { return !line.points.empty(); };
  if (std::none_of(chart.lines.begin(), chart.lines.end(), has_points)) return {};
  const Axis x = x_axis(chart), y = y_axis(chart);
  std::string text =
      fmt::format("<figure class=\"chart\" data-x=\"{}\"><figcaption>{} <span>{}{}by {}</span></figcaption>\n",
                  escaped(chart.x_name), escaped(chart.title), escaped(chart.unit), chart.unit.empty() ? "" : ", ",
                  escaped(chart.x_name));
  text += fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><rect class=\"area\" x=\"{}\" y=\"{}\" "
      "width=\"{}\" height=\"{}\"/>{}\n",
      kLeft + kWidth + kRight, kTop + kHeight + kBottom, escaped(chart.title), kLeft, kTop, kWidth, kHeight,
      axes_svg(x, y));
  text += fmt::format("<svg x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" data-range=\"{} {} {} {}\">", kLeft, kTop,
                      kWidth, kHeight, x.low, x.high, y.low, y.high);
  for (const double mark : chart.marks) {
    const double at = x.share(mark) * kWidth;
    text += fmt::format("<line class=\"mark\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"0\" y2=\"{1}\"/>", at, kHeight);
  }
  for (const ChartLine& line : chart.lines) {
    if (!line.points.empty()) text += line_svg(line, x, y);
  }
  return text +
         fmt::format("<line class=\"cursor\" y1=\"0\" y2=\"{}\"/></svg></svg><output></output></figure>\n", kHeight);
}

std::string chart_script() { return fmt::format("<script>{}</script>\n", kScript); }

}  // namespace engram
