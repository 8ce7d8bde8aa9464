#include "trainer/run_record.h"

#include <algorithm>
#include <filesystem>

#include "trainer/checkpoint.h"
#include "trainer/config.h"
#include "trainer/json_lines.h"
#include "trainer/manifest.h"
#include "trainer/metrics.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

void add_step(RunRecord& run, const Json& line) {
  const size_t before = run.column("step").size();
  for (const auto& [name, value] : line.items()) {
    if (!value.is_number() && !value.is_null()) continue;
    std::vector<double>& column = run.columns[name];
    column.resize(before, kNotMeasured);  // where it was not there so far
    column.push_back(value.is_number() ? value.get<double>() : kNotMeasured);
  }
  for (auto& [name, column] : run.columns) column.resize(before + 1, kNotMeasured);
}

RunEvent event_of(const Json& line, const std::string& where) {
  RunEvent event{
      .step = line["step"], .kind = text_in(line, "event", where), .time = text_in(line, "time", where), .fields = {}};
  event.loss = event.kind == "eval" ? number_in(line, "loss") : kNotMeasured;
  for (const auto& [name, value] : line.items()) {
    const bool is_list = value.is_structured();  // too long to show; dump() recurs into what a foreign file has
    if (name == "step" || name == "event" || name == "time" || is_list) continue;
    event.fields[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return event;
}

// Beside the run; runs of older programs have it in their checkpoints alone.
std::optional<RunConfig> config_of(const std::string& directory) {
  const std::string path = directory + "/" + kConfigName;
  if (fs::exists(path)) return load_config(path);
  const auto checkpoint = newest_checkpoint(directory + "/checkpoints");
  return checkpoint ? std::optional(checkpoint_config(*checkpoint)) : std::nullopt;
}

}  // namespace

const std::vector<double>& RunRecord::column(const std::string& column_name) const {
  static const std::vector<double> kNone;
  const auto found = columns.find(column_name);
  return found == columns.end() ? kNone : found->second;
}

double RunRecord::last(const std::string& column_name) const {
  const std::vector<double>& values = column(column_name);
  return values.empty() ? kNotMeasured : values.back();
}

const RunEvent* RunRecord::last_event(std::initializer_list<std::string_view> kinds) const {
  const auto found = std::find_if(events.rbegin(), events.rend(), [&](const RunEvent& event) {
    return std::find(kinds.begin(), kinds.end(), event.kind) != kinds.end();
  });
  return found == events.rend() ? nullptr : &*found;
}

RunRecord read_run(const std::string& directory) {
  RunRecord run;
  run.name = fs::path(directory + "/").parent_path().filename().string();
  each_step_line(directory + "/metrics.jsonl", [&](const Json& line, const std::string&) { add_step(run, line); });
  ENGRAM_CHECK(!run.column("step").empty(), directory,
               "/metrics.jsonl: has no step; wanted the directory of a run (run.dir/run.name)");
  each_step_line(directory + "/events.jsonl",
                 [&](const Json& line, const std::string& where) { run.events.push_back(event_of(line, where)); });
  run.config = config_of(directory);
  return run;
}

}  // namespace engram
