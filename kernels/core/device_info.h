#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "kernels/core/stream.h"

namespace engram {

// What a measurement has to name. Libraries that this process has not loaded are "".
struct DeviceInfo {
  std::string name;    // of the card, or of the processor
  std::string driver;  // of the card
  std::string cuda;    // run-time library
  std::string cublas, cudnn, nccl;
  int64_t memory_bytes = 0;
};

// Of the device that the stream works on.
DeviceInfo device_info(const Stream& stream);

// What tells a card from every other in the world.
using CardUuid = std::array<uint8_t, 16>;
// Of the card of that number among those that this process sees.
CardUuid card_uuid(int index);
// As nvidia-smi -L writes it.
std::string to_string(const CardUuid& uuid);

// Of this machine, as its system calls it.
std::string host_name();

// Bytes that are taken now: on CUDA of the card, by this process, its context and all others; on the CPU the most that
// this process ever had.
int64_t memory_in_use(const Stream& stream);

}  // namespace engram
