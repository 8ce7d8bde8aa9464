#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/run_config.h"

namespace engram {

struct RunEvent {
  int64_t step = 0;
  std::string kind, time;
  std::map<std::string, std::string> fields;  // all others but lists, as text
  double loss = 0;                            // of a validation; otherwise NaN
};

// What the files of a run say.
struct RunRecord {
  std::string name;                                    // of its directory
  std::map<std::string, std::vector<double>> columns;  // of metrics.jsonl, a value per line; NaN where there is none
  std::vector<RunEvent> events;
  std::optional<RunConfig> config;

  // The column; empty where there is none.
  const std::vector<double>& column(const std::string& name) const;
  // Its value in the last line; NaN where there is none.
  double last(const std::string& name) const;
  // The last event of one of the kinds; null where there is none.
  const RunEvent* last_event(std::initializer_list<std::string_view> kinds) const;
};

// Throws Error where `directory` holds no step of a run, or an event whose kind or time is no text.
RunRecord read_run(const std::string& directory);

}  // namespace engram
