#include "kernels/core/gpu_health.h"

#include <dlfcn.h>

#include <memory>

namespace engram {
namespace {

// What this file uses of NVML's interface, which is stable; its header comes with the CUDA toolkit alone.
using Card = struct nvmlDevice_st*;
constexpr int kSuccess = 0, kDriverNotLoaded = 9;
constexpr int kUncorrected = 1, kSinceLoaded = 0;                  // nvmlMemoryErrorType_t, nvmlEccCounterType_t
constexpr unsigned long long kSlowed = 0x08 | 0x20 | 0x40 | 0x80;  // hardware, too hot (twice), power brake

class Nvml {
 public:
  explicit Nvml(void* library) : library_(library, dlclose) {}

  // Calls a function of the library; false where it has none of that name, or that fails.
  template <class... Arguments>
  bool call(const char* name, Arguments... arguments) const {
    return result_of(name, arguments...) == kSuccess;
  }

  template <class... Arguments>
  int result_of(const char* name, Arguments... arguments) const {
    constexpr int kFunctionNotFound = 13;
    auto* function = reinterpret_cast<int (*)(Arguments...)>(dlsym(library_.get(), name));
    return function == nullptr ? kFunctionNotFound : function(arguments...);
  }

  // "" where the call succeeds.
  template <class... Arguments>
  std::string error_of(const char* name, Arguments... arguments) const {
    const int result = result_of(name, arguments...);
    if (result == kSuccess) return "";
    auto* text = reinterpret_cast<const char* (*)(int)>(dlsym(library_.get(), "nvmlErrorString"));
    return std::string(name) + ": " + (text == nullptr ? std::to_string(result) : text(result));
  }

 private:
  std::unique_ptr<void, int (*)(void*)> library_;
};

GpuHealth health_of(const Nvml& nvml, unsigned index) {
  GpuHealth health;
  health.name = "card " + std::to_string(index);
  Card card = nullptr;
  health.error = nvml.error_of("nvmlDeviceGetHandleByIndex_v2", index, &card);
  if (!health.error.empty()) return health;
  char name[96] = "";
  if (nvml.call("nvmlDeviceGetName", card, name, static_cast<unsigned>(sizeof name))) {
    health.name += std::string(" (") + name + ")";
  }
  // A card that lacks one of these has no such trouble to tell.
  unsigned long long errors = 0, reasons = 0;
  if (nvml.call("nvmlDeviceGetTotalEccErrors", card, kUncorrected, kSinceLoaded, &errors)) {
    health.uncorrected_errors = static_cast<int64_t>(errors);
  }
  unsigned corrected = 0, uncorrected = 0, is_pending = 0, has_failed = 0;
  if (nvml.call("nvmlDeviceGetRemappedRows", card, &corrected, &uncorrected, &is_pending, &has_failed)) {
    health.has_pending_remap = is_pending != 0;
    health.has_failed_remap = has_failed != 0;
  }
  if (nvml.call("nvmlDeviceGetCurrentClocksThrottleReasons", card, &reasons)) {
    health.is_slowed = (reasons & kSlowed) != 0;
  }
  return health;
}

}  // namespace

std::vector<GpuHealth> gpu_health() {
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {};
  const Nvml nvml(library);
  if (nvml.result_of("nvmlInit_v2") == kDriverNotLoaded) return {};
  unsigned count = 0;
  std::string error = nvml.error_of("nvmlInit_v2");
  if (error.empty()) error = nvml.error_of("nvmlDeviceGetCount_v2", &count);
  if (!error.empty()) return {{.name = "NVML", .error = error}};
  std::vector<GpuHealth> cards;
  for (unsigned index = 0; index < count; ++index) cards.push_back(health_of(nvml, index));
  return cards;  // the process ends soon, and with it what nvmlInit() counts
}

}  // namespace engram
