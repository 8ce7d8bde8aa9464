#pragma once

#include "trainer/cli.h"

namespace engram {

// The verbs of `engram sweep`. Each throws Error (ConfigError for the sweep file) and prints to std::cout.
void run_sweep_plan(const SweepPlanCommand& command);

}  // namespace engram
