#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "data/atomic_file.h"
#include "kernels/core/check.h"
#include "trainer/sweep_launch.h"
#include "trainer/sweep_report.h"
#include "trainer/sweep_tables.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// scripts/plot_sweep.py of the working directory, or of the repository that the program was built in.
std::optional<std::string> find_script() {
  const fs::path program = own_executable();
  for (const fs::path& root : {fs::path("."), program.parent_path() / "../..", program.parent_path() / ".."}) {
    if (fs::exists(root / "scripts/plot_sweep.py")) return (root / "scripts/plot_sweep.py").string();
  }
  return std::nullopt;
}

// "" where the figures were drawn, otherwise why not.
std::string draw_figures(const std::string& output) {
  const auto script = find_script();
  if (!script) return "scripts/plot_sweep.py was not found";
  const std::string log = output + "/figures.log";
  fs::remove(log);
  for (const char* python : {"python3", "/usr/bin/python3"}) {  // the first in PATH may lack what the system's has
    ChildProcess child({.arguments = {python, *script, output}, .environment = {}, .output = log});
    child.release();
    if (child.wait() == 0) return {};
  }
  return fmt::format("{} (see {})", last_line(log), log);
}

// From <svg on, without the metadata, which names addresses: what an HTML page can hold.
std::vector<std::string> read_figures(const std::string& directory) {
  std::vector<std::string> paths, figures;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory, none)) {
    if (entry.path().extension() == ".svg") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    std::string text = contents_of_file(path);
    const std::string closing = "</metadata>";
    const size_t from = text.find("<metadata>"), to = text.find(closing);
    if (from < to && to != std::string::npos) text.erase(from, to + closing.size() - from);
    const size_t begin = text.find("<svg");
    if (begin != std::string::npos) figures.push_back(text.substr(begin));
  }
  return figures;
}

}  // namespace

std::string write_report(const std::vector<std::string>& sources, const std::string& output) {
  const SweepReport report = collect_report(sources);
  ENGRAM_CHECK(std::any_of(report.trials.begin(), report.trials.end(), is_done), sources.at(0),
               ": no trial is done yet; `engram sweep status` shows how far they are");
  fs::create_directories(output);
  fs::remove_all(output + "/figures");
  write_file_atomically(output + "/results.csv", results_csv(report.trials));
  write_file_atomically(output + "/analysis.json", analysis_json(report));
  AtomicFile table(output + "/results.h5");
  fs::remove(table.temporary_path());
  write_results_hdf5(report.trials, table.temporary_path());
  table.publish();
  const std::string problem = draw_figures(output);
  write_file_atomically(output + "/report.html", report_html(report, read_figures(output + "/figures")));
  std::string text = fmt::format("wrote {0}/report.html, results.csv, results.h5, analysis.json{1}\n", output,
                                 problem.empty() ? ", figures/" : "");
  if (!problem.empty())
    text += "no figures: " + problem + "; scripts/install_dependencies.sh --figures installs what they need\n";
  return text;
}

}  // namespace engram
