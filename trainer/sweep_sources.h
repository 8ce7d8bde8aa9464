#pragma once

#include <string>
#include <vector>

#include "trainer/sweep_results.h"

namespace engram {

// The trials of all sources, directories of sweeps and files that are a results.csv. Trials of one sweep's name that
// have the same point, budget and seed are one trial. Where two sources have it, the one that is done counts, or else
// the first. Throws Error that names both places where it is done in both, where its facts differ, or where one source
// has it twice.
std::vector<ReportedTrial> collect_trials(const std::vector<std::string>& sources);

}  // namespace engram
