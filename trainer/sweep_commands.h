#pragma once

#include "trainer/cli.h"

namespace engram {

// The verbs of `engram sweep`. Each throws Error (ConfigError for the sweep file) and prints to std::cout.
void run_sweep_plan(const SweepPlanCommand& command);
int run_sweep(const SweepRunCommand& command);  // returns the exit code
void run_sweep_add(const SweepAddCommand& command);
void run_sweep_status(const SweepStatusCommand& command);
void run_sweep_report(const SweepReportCommand& command);

}  // namespace engram
