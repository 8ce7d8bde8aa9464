#include "trainer/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/core/check.h"
#include "trainer/json_lines.h"
#include "trainer/run_config.h"
#include "trainer/step_report.h"

namespace engram {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kJsonlFile = "metrics.jsonl";
constexpr const char* kCsvFile = "metrics.csv";
constexpr const char* kEventsFile = "events.jsonl";

std::string file_in(const std::string& directory, const char* name) { return directory + "/" + name; }

std::string number(int64_t value) { return fmt::format("{}", value); }
std::string number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : std::string(); }

std::string csv_header() {
  std::string line;
  visit_fields(StepMetrics{},
               [&](std::string_view name, const auto&) { line.append(line.empty() ? "" : ",").append(name); });
  return line;
}

bool has_column(const std::string& header, std::string_view name) {
  return fmt::format(",{},", header).find(fmt::format(",{},", name)) != std::string::npos;
}

std::string csv_line(const StepMetrics& metrics, const std::string& header) {
  std::string line;
  visit_fields(metrics, [&](std::string_view name, const auto& value) {
    if (has_column(header, name)) line.append(name == "step" ? "" : ",").append(number(value));
  });
  return line;
}

std::string json_line(const StepMetrics& metrics) {
  Json object;  // a NaN is dumped as null
  visit_fields(metrics, [&](std::string_view name, const auto& value) { object[std::string(name)] = value; });
  return object.dump();
}

// "experts.dead" -> "experts/dead": TensorBoard groups by what stands before the slash.
std::string tag_of(std::string_view name) {
  std::string tag(name);
  std::replace(tag.begin(), tag.end(), '.', '/');
  return tag;
}

Scalars scalars_of(const StepMetrics& metrics) {
  Scalars scalars;
  visit_fields(metrics, [&](std::string_view name, const auto& value) {
    if (name != "step") scalars.emplace_back(tag_of(name), static_cast<double>(value));
  });
  return scalars;
}

// What an event measured: "eval/loss".
Scalars scalars_of(std::string_view kind, const EventFields& fields) {
  Scalars scalars;
  for (const auto& [name, value] : fields) {
    if (const auto* number = std::get_if<double>(&value))
      scalars.emplace_back(fmt::format("{}/{}", kind, name), *number);
  }
  return scalars;
}

// The step a line belongs to; nothing for a header or a line that is torn or foreign.
bool step_of_json(const std::string& line, int64_t& step) {
  const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) return false;
  step = object["step"].get<int64_t>();
  return true;
}

bool step_of_csv(const std::string& line, int64_t& step) {
  const char* last = line.data() + line.size();
  const auto [end, error] = std::from_chars(line.data(), last, step);
  return error == std::errc{} && end != last && *end == ',';
}

struct Kept {
  int64_t last_step = 0;
  uintmax_t num_bytes = 0;
};

// Cuts `path` before its first line whose step is above `step` and before a torn last line. The first line of a CSV
// file is its header.
Kept cut_file(const std::string& path, int64_t step, bool is_csv) {
  if (!std::filesystem::exists(path)) return {};
  ENGRAM_CHECK(std::filesystem::is_regular_file(path), path, ": is not a file; wanted a metrics file of this program");
  std::ifstream file(path, std::ios::binary);
  ENGRAM_CHECK_AS(IoError, file.good(), path, ": cannot be opened");
  Kept kept;
  std::string line;
  for (bool is_first = true; std::getline(file, line); is_first = false) {
    if (file.eof()) break;  // no line end: torn
    int64_t line_step = 0;
    if (!(is_csv && is_first)) {
      const bool is_whole = is_csv ? step_of_csv(line, line_step) : step_of_json(line, line_step);
      ENGRAM_CHECK(is_whole, path, ": no step in the line \"", line.substr(0, 60),
                   "\"; wanted a metrics file of this program");
      if (line_step > step) break;
      kept.last_step = line_step;
    }
    kept.num_bytes += line.size() + 1;
  }
  ENGRAM_CHECK_AS(IoError, !file.bad(), path, ": cannot be read to its end, and was left as it is");
  file.close();
  std::error_code error;
  std::filesystem::resize_file(path, kept.num_bytes, error);
  ENGRAM_CHECK_AS(IoError, !error, path, ": cannot be cut back: ", error.message());
  return kept;
}

// That of a run which an older program began has fewer columns.
std::string read_header(const std::string& path) {
  std::ifstream file(path);
  std::string header, known;
  std::getline(file, header);
  ENGRAM_CHECK_AS(IoError, file.good(), path, ": its header cannot be read");
  visit_fields(StepMetrics{}, [&](std::string_view name, const auto&) {
    if (name == "step")
      known = name;
    else if (has_column(header, name))
      known.append(",").append(name);
  });
  ENGRAM_CHECK(header == known, path, ": has the columns ", header, "; wanted ", csv_header(),
               ", or some of these in this order; move the file away or choose another run.name");
  return header;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

StepMetrics metrics_of(const StepReport& report, const RunConfig& config) {
  StepMetrics metrics;
  metrics.step = report.step;
  metrics.tokens = report.step * config.train.global_batch * config.data.seq_len;
  metrics.loss = report.loss;
  metrics.norm = report.norm;
  metrics.lr = report.lr;
  if (config.model.moe.num_experts > 0) {
    metrics.experts_max_over_mean = report.experts_max_over_mean;
    metrics.experts_dead = report.experts_dead;
  }
  if (config.model.engram.enabled()) {
    metrics.engram_unique = report.unique_rows;
    metrics.engram_bytes = report.exchanged_bytes;
    metrics.engram_imbalance = report.imbalance;
    metrics.engram_rows = report.num_unique_rows;
    if (config.model.engram.gated()) {
      metrics.engram_gate = report.mean_gate;
      metrics.engram_gate_min = report.min_gate;
      metrics.engram_gate_max = report.max_gate;
    }
  }
  metrics.skipped = report.skipped ? 1 : 0;
  return metrics;
}

int64_t truncate_to(const std::string& directory, int64_t step) {
  cut_file(file_in(directory, kCsvFile), step, true);
  cut_file(file_in(directory, kEventsFile), step, false);
  return cut_file(file_in(directory, kJsonlFile), step, false).last_step;
}

std::string run_lock_path(const std::string& directory) { return file_in(directory, "run.lock"); }

// Somebody who only looks whether the lock is free holds it for an instant.
FileLock lock_run(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  ENGRAM_CHECK_AS(IoError, !error, directory, ": cannot be made: ", error.message());
  constexpr int kTries = 20;
  for (int i = 0; i < kTries; ++i) {
    FileLock lock(run_lock_path(directory), /*wait=*/false);
    if (lock.held()) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ENGRAM_FAIL(directory, ": another process trains this run; wait for it, or give this one another run.name");
}

MetricsLog::MetricsLog(const std::string& directory, int64_t step, bool tensorboard, double patience)
    : directory_(directory), last_step_(truncate_to(directory, step)), patience_(patience) {
  const std::string csv_path = file_in(directory, kCsvFile);
  const bool is_new = !std::filesystem::exists(csv_path) || std::filesystem::file_size(csv_path) == 0;
  csv_header_ = is_new ? csv_header() : read_header(csv_path);
  jsonl_.emplace(file_in(directory, kJsonlFile));
  csv_.emplace(csv_path);
  events_.emplace(file_in(directory, kEventsFile));
  if (is_new) csv_->append(csv_header_ + "\n");
  if (tensorboard) tensorboard_.emplace(directory, step);
}

void MetricsLog::write(const StepMetrics& metrics) {
  ENGRAM_CHECK(metrics.step > last_step_, "metrics: step ", metrics.step, " after step ", last_step_,
               "; wanted a later one");
  jsonl_->append(json_line(metrics) + "\n");
  csv_->append(csv_line(metrics, csv_header_) + "\n");
  if (tensorboard_) tensorboard_->write(metrics.step, scalars_of(metrics));
  last_step_ = metrics.step;
  flush(/*to_disk=*/false);
}

void MetricsLog::event(int64_t step, std::string_view kind, const EventFields& fields) {
  Json object{{"step", step}, {"event", kind}, {"time", utc_now()}};
  for (const auto& [name, value] : fields) {
    std::visit([&field = object[name]](const auto& content) { field = content; }, value);
  }
  events_->append(object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  if (tensorboard_) tensorboard_->write(step, scalars_of(kind, fields));
  flush(/*to_disk=*/false);
}

bool MetricsLog::has_event(int64_t step, std::string_view kind) const {
  bool found = false;
  each_step_line(file_in(directory_, kEventsFile), [&](const nlohmann::json& object, const std::string&) {
    found |= object["step"] == step && object.value("event", nlohmann::json()) == kind;
  });
  return found;
}

void MetricsLog::flush(bool to_disk) {
  const auto push = [&](auto& file) { to_disk ? file.sync() : file.flush(); };
  try {
    for (auto* file : {&jsonl_, &csv_, &events_}) push(**file);
    if (tensorboard_) push(*tensorboard_);
    refused_since_.reset();
  } catch (const IoError& error) {
    problem_ = error.what();
    if (is_refused()) return;
    untold_ = problem_;
    refused_since_ = Clock::now();
  }
}

void MetricsLog::close() {
  for (flush(/*to_disk=*/false); is_refused(); flush(/*to_disk=*/false)) {
    ENGRAM_CHECK_AS(IoError, !gives_up(), directory_, ": its last metrics or events are missing: ", problem_);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace engram
