#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>

struct CUstream_st;

namespace engram {

enum class Device : uint8_t { kCpu, kCuda };

class OpProfile;

// Runs work at once on the calling thread: on the CPU, ranks are the parallelism.
struct CpuQueue {
  OpProfile* profile = nullptr;  // times every op where it is set; see op_profile.h

  template <class Body>
  void for_each_row(int64_t num_rows, Body&& body) const {
    for (int64_t row = 0; row < num_rows; ++row) body(row);
  }
};

// The stream itself, its workspace and its library handles; see kernels/cuda/resources.cuh.
struct CudaResources;
struct ReleaseCudaResources {
  void operator()(CudaResources* resources) const;
};

// A CUDA stream. Made by make_stream(), which gives it its resources.
struct CudaQueue {
  CUstream_st* handle = nullptr;
  std::unique_ptr<CudaResources, ReleaseCudaResources> resources;
  OpProfile* profile = nullptr;
};

// Checks arguments and does nothing else: a model run on it with a dry Arena tells how much memory it takes.
struct DryQueue {};

#if ENGRAM_WITH_CUDA
using Stream = std::variant<CpuQueue, CudaQueue, DryQueue>;
#else
using Stream = std::variant<CpuQueue, DryQueue>;
#endif

// The device on which the stream's memory lives.
inline Device device_of(const Stream& stream) {
#if ENGRAM_WITH_CUDA
  if (std::holds_alternative<CudaQueue>(stream)) return Device::kCuda;
#endif
  (void)stream;
  return Device::kCpu;
}

inline bool is_dry(const Stream& stream) { return std::holds_alternative<DryQueue>(stream); }

}  // namespace engram
