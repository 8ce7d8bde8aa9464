#pragma once

#include <optional>
#include <string>
#include <vector>

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
//   dense/NAME/{value, m, v}   a slice of a parameter's elements; values are never rounded to bfloat16, so that runs in
//                              any precision read them; attribute `offset` says which
//   state/NAME                 router biases, in the file of rank 0
//   table/T/{weight, ...}      rows of table T; table/T/{first_rows, num_rows} say which runs of rows they are
//
// Saving and loading are collective and throw on every rank where one fails.

// Writes checkpoint `step-N` of the replica's current step under `directory`: every rank its file, synced, then the
// manifest, then the directory's name; then removes those that neither checkpoint.keep nor checkpoint.keep_every asks
// for. A failure before the last rename leaves the checkpoints of other steps as they were. CheckpointSaver does the
// same while training goes on.
void save_checkpoint(Replica& replica, const RunIdentity& identity, const std::string& directory);

// Paths of the complete checkpoints under `directory`, newest first, as rank 0 sees them. Collective.
std::vector<std::string> list_checkpoints(Communicator& world, const std::string& directory);

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

// Checks every file's digest, before anything else reads it, then fills the replica. Throws Error, before anything is
// changed, where the checkpoint is damaged, or of another model, tokenizer, table optimizer or data.
void load_checkpoint(Replica& replica, const RunIdentity& identity, const std::string& checkpoint, LoadScope scope);

// The same without filling anything: throws what would be refused.
void check_checkpoint(Replica& replica, const RunIdentity& identity, const std::string& checkpoint, LoadScope scope);

struct ResumedFrom {
  std::string checkpoint;
  int64_t step = 0;
  std::vector<std::string> damaged;  // what is wrong with each newer one, newest first
};

// The same with LoadScope::kResume for the first intact checkpoint of the list, newest first; the damaged ones before
// it are renamed to damaged.NAME. Throws Error where none is intact, and what load_checkpoint() does for the one taken.
// What the system does not let a rank read may be intact: IoError there, PeerFailed on the others, and nothing changes.
ResumedFrom resume_from_newest(Replica& replica, const RunIdentity& identity,
                               const std::vector<std::string>& checkpoints);

// Which one it would be; throws what would be refused, and fills and renames nothing.
ResumedFrom check_newest(Replica& replica, const RunIdentity& identity, const std::vector<std::string>& checkpoints);

}  // namespace engram
