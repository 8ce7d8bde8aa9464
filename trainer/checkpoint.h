#pragma once

#include <optional>
#include <string>

#include "trainer/replica.h"
#include "trainer/run_data.h"

namespace engram {

// A checkpoint is a directory, complete if and only if it holds MANIFEST.json:
//
//   step-00001200/MANIFEST.json             written last: step, identity, files with sizes and XXH3-128 digests
//   step-00001200/config.yaml               effective configuration
//   step-00001200/rank-00000-of-00004.h5    what this rank owns
//
// A file holds, in global coordinates, so that any number of ranks can read it:
//   dense/NAME/{value, m, v}   a slice of a parameter's elements, never rounded to bfloat16, so that runs in any
//                              precision read it; attribute `offset` says which
//   state/NAME                 router biases, in the file of rank 0
//   table/T/{weight, ...}      rows of table T; table/T/{first_rows, num_rows} say which runs of rows they are
//
// Saving and loading are collective and throw on every rank where one fails.

// Writes checkpoint `step-N` of the replica's current step under `directory`: every rank its file, synced,
// then the manifest, then the directory's name; then removes all but the newest `keep`. A failure before the
// last rename leaves the checkpoints of other steps as they were.
void save_checkpoint(Replica& replica, const RunIdentity& identity, const std::string& directory);

// Path of the newest complete checkpoint under `directory`, if there is one.
std::optional<std::string> newest_checkpoint(const std::string& directory);

// `path` where it is a complete checkpoint, otherwise the newest one of the run whose directory it is. Throws Error
// where it is neither.
std::string resolve_checkpoint(const std::string& path);

// Configuration that a checkpoint was made with. Throws Error where manifest or configuration are damaged.
RunConfig checkpoint_config(const std::string& checkpoint);

enum class LoadScope {
  kResume,   // everything; the checkpoint's data, batch and seed must be the run's too
  kWeights,  // parameters, tables and router biases
};

// Checks every file's digest, then fills the replica. Throws Error, before anything is changed, where the checkpoint is
// of another model, tokenizer, table optimizer or data, or is damaged.
void load_checkpoint(Replica& replica, const RunIdentity& identity, const std::string& checkpoint, LoadScope scope);

}  // namespace engram
