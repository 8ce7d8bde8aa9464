#pragma once

#include "trainer/sweep_config.h"
#include "trainer/sweep_process.h"

namespace engram {

// `engram train DIRECTORY/config.yaml` on the ranks of the sweep: by mpirun, or directly where it is one. The trial
// gets the devices of its slot: `ranks` GPUs from slot * ranks on.
Launch launch_of(const SweepFile& file, const std::string& trial_directory, int64_t slot);

// The batch script of a Slurm array with one task for each of `trials`, at most `jobs` at once.
std::string slurm_script(const SweepFile& file, const std::string& sweep_path, const std::vector<int64_t>& trials,
                         int64_t jobs);

// Last line with text in a file, "" where there is none.
std::string last_line(const std::string& path);

}  // namespace engram
