#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace engram {

// What a card's driver says of it, by NVML.
struct GpuHealth {
  std::string name = {};
  std::string error = {};          // of NVML, where it cannot ask the card any more
  int64_t uncorrected_errors = 0;  // of its memory, by ECC, since the driver was loaded
  bool has_pending_remap = false;  // rows of its memory are replaced at the next reset
  bool has_failed_remap = false;   // rows of its memory cannot be replaced
  bool is_slowed = false;          // by its temperature or its power supply, now
};

// Of all cards of this machine, whether this process may use them or not; none where there is no driver, with which
// NVML (libnvidia-ml.so.1) comes, loaded here at run time. Where NVML itself fails, one line of its name says how.
std::vector<GpuHealth> gpu_health();

}  // namespace engram
