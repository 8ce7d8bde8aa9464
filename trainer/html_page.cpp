#include "trainer/html_page.h"

#include <fmt/format.h>

namespace engram {
namespace {

// Colours c0 to c5 tell lines of a chart apart.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --page: #fff; --text: #222; --faint: #6b7280; --line: #e2e5e9; --panel: #f6f8fa;
  --accent: #4878a8; --c0: #2468b4; --c1: #c8500f; --c2: #1f8a5b; --c3: #9a3f93; --c4: #8a6a00; --c5: #1a8a9c; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --text: #dfe3e8; --faint: #98a1ab; --line: #30363d;
  --panel: #1d2127; --accent: #7aa7d6; --c0: #6cb0ff; --c1: #ff9254; --c2: #57c898; --c3: #d98bd2; --c4: #d9b64a;
  --c5: #5cc8d8; } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--page); }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; font-size: 13px; margin: .6rem 0; display: block; overflow-x: auto; }
th, td { padding: .2rem .55rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, .texts th, .texts td { text-align: left; }
td:first-child, .texts td:last-child, .trials td:nth-child(4), .trials td:last-child { white-space: normal;
  overflow-wrap: anywhere; min-width: 6rem; }
th { color: var(--faint); font-weight: 600; }
pre { font-size: 12.5px; background: var(--panel); padding: .6rem .8rem; overflow-x: auto; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
.note { color: var(--faint); font-size: 12.5px; }
.verdict { background: var(--panel); padding: .5rem .8rem; border-left: 4px solid var(--accent); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: .4rem 1.5rem; }
.chart { margin: .3rem 0; } .chart > svg { width: 100%; display: block; }
.chart figcaption { font-weight: 600; font-size: 13.5px; } .chart figcaption span { font-weight: 400; }
.chart figcaption span, .chart output { color: var(--faint); }
.chart output { font-size: 12px; min-height: 1.5em; display: block; font-variant-numeric: tabular-nums; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.chart .area { fill: var(--panel); } .chart .grid { stroke: var(--line); fill: none; }
.chart .mark { stroke: var(--faint); stroke-dasharray: 2 3; }
.chart .cursor { stroke: var(--faint); visibility: hidden; }
.chart polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.chart polygon { stroke: none; opacity: .18; }
.chart .dashed { stroke-dasharray: 5 3; }
.legend span { margin-right: 1.2rem; display: inline-block; overflow-wrap: anywhere; }
.legend svg { width: 26px; height: 10px; margin-right: .35rem; }
.legend line { stroke-width: 3; }
.c0 { stroke: var(--c0); fill: var(--c0); } .c1 { stroke: var(--c1); fill: var(--c1); }
.c2 { stroke: var(--c2); fill: var(--c2); } .c3 { stroke: var(--c3); fill: var(--c3); }
.c4 { stroke: var(--c4); fill: var(--c4); } .c5 { stroke: var(--c5); fill: var(--c5); }
)";

}  // namespace

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '"')
      safe += "&quot;";
    else
      safe += c;
  }
  return safe;
}

std::string table_row(const char* tag, const std::vector<std::string>& cells) {
  std::string text = "<tr>";
  for (const std::string& cell : cells) text += fmt::format("<{0}>{1}</{0}>", tag, escaped(cell));
  return text + "</tr>\n";
}

std::string page_begin(std::string_view title) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{}</title><style>{}</style></head><body>\n",
      escaped(title), kStyle);
}

std::string page_end() { return "</body></html>\n"; }

}  // namespace engram
