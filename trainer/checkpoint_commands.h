#pragma once

#include "parallel/communicator.h"
#include "trainer/cli.h"

namespace engram {

// What `engram checkpoint` does on one rank: lists what a checkpoint holds; checks all of it; compares two; writes one
// for other software. Each throws Error and prints to std::cout.
void run_checkpoint_inspect(const CheckpointInspectCommand& command);
void run_checkpoint_verify(const CheckpointVerifyCommand& command);
void run_checkpoint_diff(const CheckpointDiffCommand& command);
void run_checkpoint_export(const CheckpointExportCommand& command);

// A checkpoint at step 0 from an export. Collective; rank 0 prints.
void run_checkpoint_import(Communicator& world, const CheckpointImportCommand& command);

}  // namespace engram
