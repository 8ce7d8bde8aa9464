#pragma once

#include <string>

#include "trainer/replica.h"
#include "trainer/run_data.h"

namespace engram {

// Fills dense parameters, tables and router biases from an export (see export_layout.h); optimizers and step stay as
// they are. Collective. Throws Error on all ranks, before anything is changed, where the export is of another model or
// tokenizer, and names each tensor that is missing, unknown or of another shape; while it fills, where a weight is not
// finite.
void load_export(Replica& replica, const RunIdentity& identity, const std::string& directory);

// The same from an export, a checkpoint or the directory of a run (its newest checkpoint): how a run starts from the
// weights of another.
void load_initial_weights(Replica& replica, const RunIdentity& identity, const std::string& path);
// Throws what it would refuse, and fills nothing.
void check_initial_weights(Replica& replica, const RunIdentity& identity, const std::string& path);

}  // namespace engram
