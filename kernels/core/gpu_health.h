#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace engram {

// What a card's driver says of it, by NVML.
struct GpuHealth {
  std::string name = {};
  std::string error = {};          // of NVML, where it cannot ask the card any more
  int64_t uncorrected_errors = 0;  // of its memory, by ECC, since the driver was loaded
  bool has_pending_remap = false;  // rows of its memory are replaced at the next reset
  bool is_slowed = false;          // by its temperature or its power supply, now
};

// Of all cards of this machine, whether this process may use them or not; nothing where there is no NVML
// (libnvidia-ml.so.1), which comes with the driver and is loaded here at run time.
std::optional<std::vector<GpuHealth>> gpu_health();

}  // namespace engram
