#pragma once

#include <span>

#include "trainer/run_record.h"

namespace engram {

inline constexpr size_t kMostReportedRuns = 12;

// One page about one run, or about several beside each other: outcome, curves, events, configuration, environment. It
// needs no other file and stays below 2 MB however long the runs were. 1 to kMostReportedRuns runs.
std::string run_report_html(std::span<const RunRecord> runs);

}  // namespace engram
