#pragma once

#include <sched.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels/core/gpu_health.h"
#include "kernels/core/library_version.h"
#include "parallel/link_probe.h"
#include "trainer/cli.h"

// What `engram doctor` looks at; doctor.h judges it.
namespace engram {

// Of one rank.
struct RankFacts {
  std::string host;
  std::vector<LibraryVersion> libraries;
  std::vector<int64_t> clock_micros;  // since 1970, right after each of some barriers
  int64_t open_files = 0;             // limits of this process; kUnlimited where there is none
  int64_t locked_bytes = 0;
  bool has_infiniband = false;
  int64_t shared_memory_bytes = 0;  // free in /dev/shm
  std::vector<int> cores;           // that this process may use
  int64_t num_cards = 0;            // that CUDA sees
  std::string card_error;           // of CUDA, where it cannot work with this rank's card
  std::vector<GpuHealth> gpus;      // that NVML sees
  std::string disk_problem;         // "" for none
  int64_t disk_free_bytes = 0;
  double disk_bytes_per_second = 0;  // written and synced, all ranks at once
};
constexpr int64_t kUnlimited = -1;

// Of all ranks, on rank 0.
struct JobFacts {
  std::vector<RankFacts> ranks;
  std::vector<Link> links;                  // of host memory, by MPI
  std::vector<Link> card_links;             // of cards, by NCCL
  std::string card_problem;                 // why there are none; "" where there is one rank or no card
  std::string directory;                    // where runs are written
  std::optional<int64_t> checkpoint_bytes;  // of the configuration, where one is given
  std::string config_problem;               // why it does not fit this job
  bool wants_cards = false;                 // says the configuration
  bool may_use_cards = true;                // the configuration does not say device: cpu
};

// The cores that `ask` names. Like sched_getaffinity() of this process, it refuses a set with room for fewer cores than
// the system could have.
std::vector<int> usable_cores(bool (*ask)(size_t num_bytes, cpu_set_t* set));

// Looks and measures, and leaves nothing behind. Collective. Throws ConfigError for the configuration alone.
JobFacts gather_facts(Communicator& world, const DoctorCommand& command);

}  // namespace engram
