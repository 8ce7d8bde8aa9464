#pragma once

#include <span>
#include <string>

#include "trainer/run_record.h"

namespace engram {

// The curves of a report: a section of charts for training, speed, experts and memory tables, a line per run in each.
// Columns of metrics.jsonl that are not known here get a chart too.
std::string chart_sections(std::span<const RunRecord> runs);

}  // namespace engram
