#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Names of checkpoints and of the files in them, and what is there.
namespace engram {

// "step-00001200", and the step of such a name; -1 where the name is not of that form.
std::string checkpoint_name(int64_t step);
int64_t step_of_checkpoint(const std::string& name);

// "rank-00003-of-00008.h5"
std::string rank_file_name(int64_t rank, int64_t world_size);

// Paths of the complete checkpoints under a directory, those with a manifest, oldest first.
std::vector<std::string> complete_checkpoints(const std::string& directory);

// A checkpoint that is being written, or was until it was set aside to be removed, is called "tmp." and more, so that
// by half it is none.
std::string unfinished_checkpoint(const std::string& directory, int64_t step);
std::string set_aside_for_removal(const std::string& checkpoint);

// Removes what nobody finished, and the complete checkpoints but the newest `keep` and those whose step is a multiple
// of `keep_every` (0: none). Returns what the system does not let it remove, in words for the user, "" for nothing:
// that stays for the next call, and a checkpoint of which nothing was removed stays one.
std::string remove_old_checkpoints(const std::string& directory, int64_t keep, int64_t keep_every);

}  // namespace engram
